"""Learners, their loss and score, one step of all folds, and the best one refitted."""
