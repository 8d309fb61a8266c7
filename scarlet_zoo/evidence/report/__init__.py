"""The report of the benchmarks: records to sections, sections to markdown and a page."""
