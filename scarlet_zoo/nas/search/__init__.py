"""Search for architectures on the Pareto front of accuracy, size and latency."""
