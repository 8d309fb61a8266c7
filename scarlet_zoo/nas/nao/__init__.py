"""Neural architecture optimisation: an encoder, predictor and decoder of architectures, and what it proposes."""
