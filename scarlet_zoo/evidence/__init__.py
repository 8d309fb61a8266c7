"""What the committed evidence is made with; only drivers of the benchmarks import it."""
