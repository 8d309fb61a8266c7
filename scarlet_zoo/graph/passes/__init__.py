"""Exact rewrites of an ONNX graph, one kind in each module."""
