"""Public market data: adapters, sessions, scanners, books."""
