"""How fast this machine labels, trains and predicts, and how much memory that takes: what tools/benchmark.py runs."""
