"""Models, losses and tokens behind the operators of this floor."""
