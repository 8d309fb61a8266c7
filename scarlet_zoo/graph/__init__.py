"""Read, rewrite, quantise and run ONNX graphs, without torch."""
