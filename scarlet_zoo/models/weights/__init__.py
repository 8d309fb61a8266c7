"""Weights with provenance: their cards, their files, and where they are kept."""
