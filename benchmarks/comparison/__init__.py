"""What `peers.py` is made of: the grid, one module per contestant, the match, the report.

Each contestant runs in a worker process of its own; the modules named `with_...` are the
only ones that import what they are named after.
"""
