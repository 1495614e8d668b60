"""Measuring: where time goes, what the machine gives, and the files that hold it."""
