"""Sampling: storage of a rollout, the loop that fills it, the episodes that ended in it."""
