"""What is read: a process tree, and the groups of figures beside it."""
