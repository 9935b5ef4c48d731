"""Attacks whole runs with SIGKILL and compares what is left with an undisturbed run."""
