"""Measuring in a browser: a small server hands a page and the networks to a phone, and takes records back."""
