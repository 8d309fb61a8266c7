"""Architectures as torch modules, and their weights."""
