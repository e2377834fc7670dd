"""The networks. Each takes float32 films (N, 1, S, S) and gives logits (N,); `registry` knows them by name."""
