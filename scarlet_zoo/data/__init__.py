"""Data sets, image files, and the preparation of images for a network."""
