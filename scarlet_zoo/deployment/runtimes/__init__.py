"""Runtimes beside ONNX Runtime: how each converts and runs a network."""
