"""Finds the plan that trains fastest, with the real policy and learner in the loop, and says how sure that is."""
