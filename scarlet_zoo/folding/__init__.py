"""How batch norms and stabilizers vanish into the convolutions around them, exactly."""
