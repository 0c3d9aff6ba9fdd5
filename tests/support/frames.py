"""Frames of studies whose trials are made up, with costs and scores that are known."""

import itertools
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pandas as pd

from entrypoints.frame import ABOUT, Frame

POINTS = 21  # of a curve, step 0 included
STEPS = 1000  # of a trial that has no `steps` of its own


def study(
    levels,
    costs=None,
    score=lambda row: 0.66,
    *,
    curves=None,
    metric="val_rmse",
    folds=10,
    repeats=0,
    noise=0.02,
    fold_sd=0.02,
    model_sd=0.01,
    same_model=(),
    diverged=lambda row: False,
    seed=0,
    name="tune red_wine",
    about=None,
    of_study=None,
):
    """A study of all combinations of levels, or of these configurations, in an order shuffled by the seed.

    Args:
        levels: of each hyperparameter, or one mapping a configuration as a search drew them.
        costs: what a configuration truly costs, by metric; it is told ``number`` as well.
        score: the expected score of a configuration, or one for each fold.
        curves: the true value of a metric after a share of the training, 0 to 1.
        metric: the name of the score; None: nothing ranks the trials, and there are no folds.
        folds: their number.
        repeats: how often the configuration in the middle runs again.
        noise: the standard deviation of a cost's logarithm from run to run, of each or by name.
        fold_sd: by how much folds differ for all models alike.
        model_sd: the standard deviation of what one model does on one fold.
        same_model: the hyperparameters that change costs, but not the model: trials that differ in them alone have
            equal scores in each fold.
        diverged: of which configurations training does.
        seed: of everything that is drawn.
        name: of the study.
        about: columns of ``ABOUT`` that are not as of trials that ended well, by name: a value or one for each trial.
        of_study: the same of the study's row.
    """
    random = np.random.default_rng(seed)
    if isinstance(levels, Mapping):
        configurations = [dict(zip(levels, values, strict=True)) for values in itertools.product(*levels.values())]
    else:
        configurations = [dict(each) for each in levels]
    again = [dict(configurations[len(configurations) // 2]) for _ in range(repeats)]
    order = random.permutation(len(configurations) + repeats)
    rows = [(configurations + again)[i] | {"number": number} for number, i in enumerate(order, 1)]
    names = list(configurations[0])
    run_id = f"{name} {seed}"
    ids = [f"{seed}_{number:05d}" for number in range(len(rows))]
    trials = pd.DataFrame({each: [row[each] for row in rows] for each in names})
    known = {
        "study": run_id,
        "trial_id": ids,
        "run_id": [f"run_{each}" for each in ids],
        "name": [" ".join(f"{key}={row[key]}" for key in names) for row in rows],
        "number": range(1, len(rows) + 1),
        "repeat": [max(int(number) - len(configurations) + 1, 0) for number in order],
        "status": "FINISHED",
        "diverged": [diverged(row) for row in rows],
        "host": "machine",
    } | dict(about or {})
    columns = {column: known.get(column, [None] * len(rows)) for column in ABOUT}
    trials = pd.concat([pd.DataFrame(columns), trials], axis=1)
    for cost, of in (costs or {}).items():
        spread = noise[cost] if isinstance(noise, Mapping) else noise
        trials[cost] = [of(row) * float(np.exp(random.normal(0, spread))) for row in rows]
    by_fold = pd.DataFrame(columns=["study", "trial_id", "fold"])
    if metric is not None:
        hard, models, scores = random.normal(0, fold_sd, folds), {}, []
        for row in rows:
            model = repr([row[each] for each in names if each not in same_model])
            if model not in models:
                models[model] = score(row) + hard + random.normal(0, model_sd, folds)
            scores.append(models[model])
        trials[metric] = [float(each.mean()) for each in scores]
        by_fold = pd.DataFrame(
            [
                {"study": run_id, "trial_id": trial, "fold": fold, metric: float(value)}
                for trial, each in zip(ids, scores, strict=True)
                for fold, value in enumerate(each)
            ]
        )
    of_all = {
        "name": name,
        "experiment_id": "0",
        "dataset": "red_wine",
        "digest": "d",
        "key": "k",
        "limits": None,
        "score": metric,
        "higher_is_better": metric is not None and "accuracy" in metric,
        "baseline": None,
        "choose": "best",
        "rate": None,
        "search": "grid",
        "seed": seed,
        "planned": len(rows),
        "model": None,
        "model_run_id": None,
        "command_cpu_seconds": None,
        "command_elapsed_s": None,
        "duplicate_rows_percent": None,
        "leak": None,
        "test": None,
        "test_low": None,
        "test_high": None,
        "no_interval": None,
        "gain": None,
        "gain_low": None,
        "gain_high": None,
        "algorithm": None,
    }
    studies = pd.DataFrame([of_all | dict(of_study or {})], index=[run_id], dtype=object)
    points = _curves(run_id, ids, rows, trials, curves or {})
    return Frame(studies, trials, by_fold, points, tuple(names))


def together(*frames):
    """One frame of several studies, which is asked of the first."""
    names = dict.fromkeys(name for frame in frames for name in frame.hyperparameters)
    tables = {
        table: pd.concat([getattr(frame, table) for frame in frames], ignore_index=table != "studies")
        for table in ("studies", "trials", "folds", "curves")
    }
    return replace(frames[0], **tables, hyperparameters=tuple(names))


def stopped(frame, *batch_sizes, **about):
    """The same study with the trials of these batch sizes stopped by its limits, or as these columns say."""
    trials = frame.trials.copy()
    rows = trials["batch_size"].isin(batch_sizes)
    for name, value in ({"status": "KILLED", "stopped_by": "limits"} | about).items():
        trials[name] = trials[name].mask(rows, value)
    return replace(frame, trials=trials)


def _curves(
    study_id,
    ids,
    rows,
    trials,
    curves,
):
    steps = trials["steps"] if "steps" in trials else [STEPS] * len(rows)
    points = [
        {
            "study": study_id,
            "trial_id": trial,
            "metric": metric,
            "at": round(share * length),
            "value": of(row, share),
        }
        for metric, of in curves.items()
        for trial, row, length in zip(ids, rows, steps, strict=True)
        for share in np.linspace(0, 1, POINTS)
    ]
    return pd.DataFrame(points, columns=["study", "trial_id", "metric", "at", "value"])
