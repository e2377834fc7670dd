"""What a machine with an NVIDIA GPU can show, in one command: `python -m benchmarks.gpu.run`."""
