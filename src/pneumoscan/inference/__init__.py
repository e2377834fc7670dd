"""Classify new films with a model bundle, using only ONNX Runtime: `bundle`, `classifier`, `batch`."""
