"""Which images a network sees, and how they are prepared."""
