"""What hyperparameters change (RQ2): trials -> effects, a law of their cost -> sentences."""
