"""Quantise a float32 file to an all-integer int8 file with golden outputs."""
