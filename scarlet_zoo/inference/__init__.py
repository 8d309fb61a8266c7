"""What a network answers for an image, and how often it is right."""
