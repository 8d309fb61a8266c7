"""How fast a network is: here, on a phone, in a browser, or as predicted by a table."""
