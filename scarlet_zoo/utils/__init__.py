"""Helpers that every package may use: atomic file writing, jobs in separate processes, plots and markdown tables."""
