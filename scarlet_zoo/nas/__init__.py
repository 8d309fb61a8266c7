"""How a search space is searched: supernets, strategies, search and ranking."""
