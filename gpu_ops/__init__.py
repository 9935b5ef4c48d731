"""Operators that need a model or a device, one a file."""
