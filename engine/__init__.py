"""Shared memory, atomics, rings, tables, counters, agents and the tools around them."""
