"""Pages of the documentation site that are made: from records, recipes, the command line and the public names."""
