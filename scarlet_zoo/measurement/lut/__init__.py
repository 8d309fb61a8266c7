"""Latency tables: every block of a search space measured on a device, and what they predict of whole networks."""
