"""Where figures go: batches to MLflow runs, whatever happens to the store."""
