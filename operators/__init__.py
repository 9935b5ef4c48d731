"""CPU operators, one a file, named by their files."""
