"""What trainings and searches of other libraries cost, and limits that end them; one module a library.

`boosters` is what LightGBM and XGBoost share. By `workers`, processes of a scikit-learn search call that of the search.
Users import them from `mlflow_sysmetrics.sklearn`, `.optuna`, `.lightgbm` and `.xgboost`.
"""
