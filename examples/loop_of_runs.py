"""A loop over models, a run each: one line measures them all."""

import mlflow
from sklearn.datasets import make_classification
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import train_test_split

from mlflow_sysmetrics import autolog, measure

autolog()
with measure() as load:
    X, y = make_classification(n_samples=5_000, random_state=0)
    X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)
print(f"the data take {load.summary['memory_growth_mb']:.0f} MB")
for trees in (10, 40, 160):
    with mlflow.start_run(run_name=f"{trees} trees"):
        model = RandomForestClassifier(trees, random_state=0).fit(X_train, y_train)
        mlflow.log_param("trees", trees)
        mlflow.log_metric("accuracy", model.score(X_test, y_test))
