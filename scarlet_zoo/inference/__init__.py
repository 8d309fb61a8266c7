"""Label images with a network, and measure how often it is right."""
