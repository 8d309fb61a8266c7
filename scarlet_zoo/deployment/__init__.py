"""From a network to a verified file in the form that is fastest on its target."""
