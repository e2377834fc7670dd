"""The networks. Each maps float32 films (N, 1, S, S) to logits (N,). `registry` lists them by name."""
