"""Measurements: every figure of the README comes from a command in this package."""
