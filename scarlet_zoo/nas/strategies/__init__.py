"""How a supernet is trained and scored, one strategy a module."""
