"""The search for architectures on the front between accuracy, size and latency."""
