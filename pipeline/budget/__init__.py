"""Scaling laws fitted to runs, and what to spend a budget of compute and tokens on."""
