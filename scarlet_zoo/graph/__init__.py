"""ONNX graphs without torch: read, rewritten, quantised and run."""
