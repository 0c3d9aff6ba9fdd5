"""What a user should know of the columns: those that give the target away, and those that a model relies on."""
