"""Exact folding of batch norms and stabilizers into the convolutions around them."""
