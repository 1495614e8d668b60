"""Policies and learning algorithms as pure functions: spaces, networks, distributions, returns, PPO."""
