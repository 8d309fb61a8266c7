"""Experiments behind the papers' claims, one question a module."""
