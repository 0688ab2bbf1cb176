"""What computes: one folder an op, ``reference.py`` first. Knows torch only."""
