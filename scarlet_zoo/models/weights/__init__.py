"""Weights and their provenance: weights cards, weights files, and the user's weights store."""
