"""Sample strategies: one in plain Python, one compiled; read them to write your own."""
