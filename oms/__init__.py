"""Orders, positions and risk; the strategies' side of the system."""
