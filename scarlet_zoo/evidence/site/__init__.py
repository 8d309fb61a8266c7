"""Pages of the documentation site that are made from the records, the recipes, the command line and the public names."""
