"""Measure in a browser: a small server gives a phone a page and the networks, and receives its records."""
