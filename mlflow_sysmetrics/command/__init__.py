"""Without code: the commands of `mlflow-sysmetrics` (`cli`), and the project `backend`.

`run` starts a program in this process's place (`passthrough`). The `supervisor` measures it, and ends it where it must.
The `run_tracker` records it in the MLflow run in which it belongs, which `tracked_run` knows.
"""
