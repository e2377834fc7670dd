"""Every network that can be in a model. Each of `registry` maps float32 films (N, 1, S, S) to logits (N,).

registry.py      the networks by name
baseline.py, flagship.py, transfer.py, lung_reader.py
layers.py        dropout and batch normalisation for exact resuming, a faster max-pooling in 16-bit training
ood_detector.py  the distance from the training films
exported.py      all of it as one ONNX graph
"""
