"""Experiments that test claims of the papers, one question in each module."""
