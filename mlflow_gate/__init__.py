"""Gates: is a program or a model worse than the one before it (`check`), and what does a model cost as `served`?

It measures with `mlflow_sysmetrics`, whose command line finds the `commands` of this package. `metrics` are the costs
of a served model, and `table_files` reads the rows that a user gives.
"""
