"""The bundle: an MLflow Project that tunes a model and records what each trial costs."""
