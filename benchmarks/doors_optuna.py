"""What limits do for Optuna's trials, beside failing them and beside random search.

    python benchmarks/doors_optuna.py [--seeds 5] [--trials 60] [--near 600]

Studies of trials that sleep, the longer the better they are, under a limit that half, or one in twenty-five, of the
space meets: the share of trials 20 to 60 that break it. Then trials whose time is the limit: how many of them and of
their runs there are at the end.
"""

import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from statistics import mean

import click

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import mlflow  # noqa: E402
import optuna  # noqa: E402

from mlflow_sysmetrics.optuna import system_metrics  # noqa: E402

FULL_S = 0.2
SPACES = {"half": 0.5**0.5, "one in 25": 0.2}  # the share of each side that meets the limit


class OverLimitError(Exception):
    """What users raise without us."""


def slow(trial):
    x, y = (trial.suggest_float(name, 0, 1) for name in "xy")
    time.sleep(FULL_S * max(x, y))
    return x + y


def share_over(how, limit_s, seed, trials):
    """The share of the later trials that break the limit."""

    def failing(trial):
        began, value = time.monotonic(), slow(trial)
        if time.monotonic() - began > limit_s:
            raise OverLimitError
        return value

    samplers = optuna.samplers
    sampler = samplers.RandomSampler(seed=seed) if how == "random" else samplers.TPESampler(seed=seed)
    objective = failing if how == "failed" else system_metrics(f"elapsed_s<={limit_s}")(slow)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    study.optimize(objective, n_trials=trials, catch=(OverLimitError,))
    return mean(FULL_S * max(each.params.values()) > limit_s for each in study.trials[20:])


def near(trials, jobs):
    """Trials of which about half break the limit."""
    objective = system_metrics("elapsed_s<=0.02")(
        lambda trial: time.sleep(0.02 * trial.suggest_float("x", 0.8, 1.1)) or 1.0
    )
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    with mlflow.start_run() as run:
        study.optimize(objective, n_trials=trials, n_jobs=jobs)
    states = Counter(trial.state.name for trial in study.trials)
    wanted = f"tags.`mlflow.parentRunId` = '{run.info.run_id}'"
    deadline, ended = time.monotonic() + 120, Counter[str]()
    while ended["FINISHED"] + ended["KILLED"] < trials and time.monotonic() < deadline:
        time.sleep(1)
        ended = Counter(each.info.status for each in mlflow.MlflowClient().search_runs(["0"], wanted, max_results=5000))
    return f"n_jobs={jobs}: {dict(states)}; runs {dict(ended)}"


@click.command(help=__doc__)
@click.option("--seeds", default=5, show_default=True)
@click.option("--trials", default=60, show_default=True)
@click.option("--near", "many", default=600, show_default=True)
def main(seeds, trials, many):
    """Print a line for each."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with tempfile.TemporaryDirectory(prefix="doors-") as folder:
        mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
        for space, side in SPACES.items():
            for how in ("pruned", "failed", "random"):
                over = mean(share_over(how, FULL_S * side, seed, trials) for seed in range(seeds))
                click.echo(f"limit that {space} of the space meets, {how}: {over:.0%} of later trials break it")
        for jobs in (1, 2):
            click.echo(f"{many} trials near their limit, {near(many, jobs)}")


if __name__ == "__main__":
    main()
