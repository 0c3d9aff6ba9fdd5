"""Pages of runs that are ready in the MLflow UI: their charts and columns, where they are kept, their links."""
