"""Benchmarks: ratios and checks on real corpora, each a command that prints its figures."""
