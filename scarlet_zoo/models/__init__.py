"""Which torch module an architecture is, and whose weights it has."""
