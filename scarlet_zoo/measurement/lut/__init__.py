"""Latency tables: every block of a search space measured on a device, to predict whole networks."""
