"""Benches: environments alone, no learner, every execution of them measured side by side.

``bench`` of :mod:`paceline.bench.runner` runs one. Nothing is imported here: the processes that measure load no more
than they need.
"""
