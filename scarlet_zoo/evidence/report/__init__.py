"""The report of the benchmarks: turn records into sections, and sections into markdown and a web page."""
