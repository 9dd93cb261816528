"""One script for each claim of the project; run from the repository's root: ``python -m benchmarks.NAME``."""
