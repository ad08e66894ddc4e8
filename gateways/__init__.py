"""The private side of the venues, and the simulated venue."""
