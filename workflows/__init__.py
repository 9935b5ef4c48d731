"""Whole studies, cluster jobs and benchmarks over the public interface."""
