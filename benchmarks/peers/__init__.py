"""Other systems for federated learning, measured beside ours: `./dev bench round` and `engine`, with `--peers`."""
