"""Neural architecture optimisation (NAO): an encoder, predictor and decoder that proposes architectures."""
