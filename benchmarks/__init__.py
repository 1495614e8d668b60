"""Benchmarks: scripts that anyone can run; results lie in ``results/``."""
