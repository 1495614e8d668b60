"""Actors: processes that hold environments and a copy of the policy, and return whole fragments of trajectories."""
