"""Speed beside Keras and plain PyTorch."""
