"""Fresh processes: given requests, listened to, and ended with everything that they started.

Sweeps run their trials in them, benches their cases.
"""
