"""Benchmarks: the `main` of each module prints ratios against the reference, measured in the same run."""
