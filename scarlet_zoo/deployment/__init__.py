"""From a network to a verified file, in the graph variant that is fastest on its target."""
