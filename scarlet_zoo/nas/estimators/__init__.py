"""What is known of an architecture before it is trained, and a predictor that is fitted to short trainings."""
