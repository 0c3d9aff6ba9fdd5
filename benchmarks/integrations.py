"""What the integrations cost: the same searches and trainings without and with each, in turn.

    python benchmarks/integrations.py [--repeats 7] [--quick]

CPU seconds of this process, medians, and the difference for each fit, trial or iteration. scikit-learn: grid searches
of 40 and of 1,000 candidates, with fits of about 1 ms; Optuna: trials of 1 ms; LightGBM and XGBoost: 300 iterations on
20,000 rows.
"""

import sys
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import click  # noqa: E402
import lightgbm  # noqa: E402
import mlflow  # noqa: E402
import optuna  # noqa: E402
import xgboost  # noqa: E402
from sklearn.datasets import make_classification  # noqa: E402
from sklearn.model_selection import GridSearchCV  # noqa: E402
from sklearn.tree import DecisionTreeClassifier  # noqa: E402

import mlflow_sysmetrics.lightgbm  # noqa: E402
import mlflow_sysmetrics.optuna  # noqa: E402
import mlflow_sysmetrics.sklearn  # noqa: E402
import mlflow_sysmetrics.xgboost  # noqa: E402

SMALL = make_classification(400, 5, random_state=0)
LARGE = make_classification(20_000, 30, n_informative=15, random_state=0)
DEPTHS, LEAVES, SPLITS, TRIALS, ITERATIONS = list(range(1, 41)), list(range(1, 26)), 2, 100, 300


def search_40_with_sklearn(measured):
    search_grid({"max_depth": DEPTHS}, measured)


def search_1000_with_sklearn(measured):
    search_grid({"max_depth": DEPTHS, "min_samples_leaf": LEAVES}, measured)


def search_grid(grid, measured):
    search = GridSearchCV(DecisionTreeClassifier(), grid, cv=SPLITS, refit=False)
    if measured:
        search.set_callbacks(mlflow_sysmetrics.sklearn.SystemMetricsCallback(limits="elapsed_s<=60"))
    search.fit(*SMALL)


def objective(trial):
    model = DecisionTreeClassifier(max_depth=trial.suggest_int("max_depth", 1, 30))
    return model.fit(*SMALL).score(*SMALL)


def search_with_optuna(measured):
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    wrapped = mlflow_sysmetrics.optuna.system_metrics()(objective) if measured else objective
    study.optimize(wrapped, n_trials=TRIALS)


def train_with_lightgbm(measured):
    callbacks = [mlflow_sysmetrics.lightgbm.SystemMetricsCallback()] if measured else []
    params = {"verbose": -1, "objective": "binary", "num_threads": 1}
    lightgbm.train(params, lightgbm.Dataset(*LARGE), ITERATIONS, callbacks=callbacks)


def train_with_xgboost(measured):
    callbacks = [mlflow_sysmetrics.xgboost.SystemMetricsCallback()] if measured else []
    params = {"objective": "binary:logistic", "nthread": 1}
    xgboost.train(params, xgboost.DMatrix(*LARGE), ITERATIONS, callbacks=callbacks)


CASES = (
    (search_40_with_sklearn, "fit", len(DEPTHS) * SPLITS),
    (search_1000_with_sklearn, "fit", len(DEPTHS) * len(LEAVES) * SPLITS),
    (search_with_optuna, "trial", TRIALS),
    (train_with_lightgbm, "iteration", ITERATIONS),
    (train_with_xgboost, "iteration", ITERATIONS),
)


def cpu_seconds(call, measured):
    """CPU seconds of this process for a call; a training is in a run where it is measured."""
    of_training = measured and call.__name__.startswith("train")
    with mlflow.start_run() if of_training else nullcontext():
        began = time.process_time()
        call(measured)
        return time.process_time() - began


@click.command(help=__doc__)
@click.option("--repeats", default=7, show_default=True)
@click.option("--quick", is_flag=True, help="Each once.")
def main(repeats, quick):
    """Print a line for each."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with tempfile.TemporaryDirectory(prefix="integrations-", ignore_cleanup_errors=True) as folder:
        mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
        for call, part, parts in CASES:
            cpu_seconds(call, True)  # what is loaded and made once
            taken = {False: [], True: []}
            for _ in range(1 if quick else repeats):
                for measured in taken:
                    taken[measured].append(cpu_seconds(call, measured))
            without_s, with_s = median(taken[False]), median(taken[True])
            more_ms = 1000 * (with_s - without_s) / parts
            click.echo(f"{call.__name__}: {without_s:.2f} CPU s, with {with_s:.2f}: {more_ms:+.2f} ms a {part}")


if __name__ == "__main__":
    main()
