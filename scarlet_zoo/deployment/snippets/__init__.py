"""Code snippets that load an exported file in an app, made from the file's metadata."""
