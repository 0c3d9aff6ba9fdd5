"""Per-process system metrics for MLflow runs. Importing this package imports neither mlflow nor ray."""
