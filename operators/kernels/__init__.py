"""Kernels over Arrow buffers, each beside its plain reference."""
