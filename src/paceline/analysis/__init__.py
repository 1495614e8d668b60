"""Turns results into findings: scaling, bottlenecks, recommendations, comparisons. Pure functions on numbers."""
