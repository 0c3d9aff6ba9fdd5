"""What is known of trials: a trial while it runs, those of a study in MLflow, and all as one frame."""
