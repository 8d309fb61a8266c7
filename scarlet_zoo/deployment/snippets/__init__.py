"""The lines of code that load a file in an app, made from the file's own metadata."""
