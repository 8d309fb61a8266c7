"""Exact rewrites of an ONNX graph, one derivation a module."""
