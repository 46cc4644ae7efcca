"""The demo: twelve clients, one mesh, real market data. `./dev demo`; everything starts in `__main__`."""
