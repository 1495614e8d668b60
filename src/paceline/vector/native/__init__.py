"""Batched environments in C threads: no Python per environment on the way of a step."""
