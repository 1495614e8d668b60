"""Runner processes, from both sides: starting, waking, waiting, serving, mending, ending."""
