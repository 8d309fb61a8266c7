"""Measure how well supernets rank architectures: ground truth, rankers, and the verdict with its intervals."""
