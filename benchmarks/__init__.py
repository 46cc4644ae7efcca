"""What performance.md of the design asks for, runnable by anyone: `./dev bench NAME`."""
