"""Read new films with a model bundle, on ONNX Runtime alone: `bundle`, `classifier`, `batch`."""
