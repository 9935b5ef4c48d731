"""Selection inside the training loop: which of the rows that were looked at are trained on, how heavily."""
