"""Runtimes other than ONNX Runtime, and how each converts and runs a network."""
