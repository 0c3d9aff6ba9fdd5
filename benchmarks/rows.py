"""What one row costs a logged model that reads it as the file has it, beside a plain pipeline on clean columns.

Both hold the same trained estimator. The plain one is scikit-learn's ColumnTransformer (mean, StandardScaler,
OneHotEncoder), and gets the features as numbers and text; ours gets the row as pandas reads it from the file. Rows take
turns: median CPU time of a row, and the ratio. The tables: red_wine, diabetes, and 40 columns of money, percentages,
dates and categories in English and German spelling.

    python benchmarks/rows.py [--quick]
"""

import os
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"
ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
from own_models import ENGLISH, GERMAN, business_table  # noqa: E402
from reference import configured, features_of, split_up  # noqa: E402
from sklearn.compose import make_column_transformer  # noqa: E402
from sklearn.impute import SimpleImputer  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import OneHotEncoder, StandardScaler, TargetEncoder  # noqa: E402

from entrypoints.datasets import known  # noqa: E402
from entrypoints.datasets.sysmetrics_rows import MAX_ONE_HOT  # noqa: E402
from entrypoints.models import best_model  # noqa: E402


def main():
    """Print a line for each table."""
    rows = 200 if "--quick" in sys.argv else 2000  # of the made tables
    print(f"{'table':10} {'columns':>7} {'ours ms':>8} {'plain ms':>8} {'ratio':>6}")
    for name in ("red_wine", "diabetes"):
        table = known.load(name)
        _compare(name, table, table.frame)
    for name, style in (("English", ENGLISH), ("German", GERMAN)):
        written, _ = business_table(style, rows)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "table.csv")
            written.to_csv(path, sep=style.separator, index=False)
            table = known.load(str(path), target="churned", group="customer_id", echo=lambda _: None)
            _compare(name, table, pd.read_csv(path, sep=style.separator, dtype=str))


def _compare(name, table, raw):
    data = split_up(table)
    algorithm = "linear" if table.task == "regression" else "logistic"
    best = best_model.refit(configured(algorithm, steps=200), data)
    ours = best_model.raw_rows_model(best, table)
    plain = _plain(best, table, np.r_[data.split.train, data.split.test])
    clean = features_of(table, np.arange(len(raw)))
    times_ms = {"ours": [], "plain": []}
    for row in data.split.test[:200]:
        for side, model, frame in (("ours", ours, raw), ("plain", plain, clean)):
            one = frame.iloc[[row]]
            began = time.process_time_ns()
            model.predict(one)
            times_ms[side].append((time.process_time_ns() - began) / 1e6)
    ours_ms, plain_ms = (median(times) for times in times_ms.values())
    print(f"{name:10} {len(table.columns):7} {ours_ms:8.2f} {plain_ms:8.2f} {ours_ms / plain_ms:6.2f}", flush=True)


def _plain(best, table, train):
    numeric = [name for name in table.feature_names if name not in table.categories]
    rows = features_of(table, train)
    few = [name for name in table.categories if rows[name].nunique() <= MAX_ONE_HOT]
    many = [name for name in table.categories if name not in few]
    transformer = make_column_transformer(
        (make_pipeline(SimpleImputer(), StandardScaler()), numeric),
        (OneHotEncoder(handle_unknown="ignore", sparse_output=False), few),
        (make_pipeline(TargetEncoder(), StandardScaler()), many),
    )
    return make_pipeline(transformer.fit(rows, table.y[train]), best.estimator)


if __name__ == "__main__":
    main()
