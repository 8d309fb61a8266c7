"""How are networks shown to others: a static page with their figures and files, in which they run."""
