"""Without code: the commands of `mlflow-sysmetrics` (`cli`), and the project `backend`.

`run` starts a command in place of this process (`passthrough`). A `program` is measured, and ended where it must be.
The `run_tracker` records it in the MLflow run in which it belongs.
"""
