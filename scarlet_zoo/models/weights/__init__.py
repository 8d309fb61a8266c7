"""Weights and their provenance: weights cards, weights files, and the user's weights store."""

# What a file says of weights that nobody has trained.
RANDOM_WEIGHTS = "random (structure and latency only)"
