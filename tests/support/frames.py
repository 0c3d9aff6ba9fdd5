"""Frames of studies whose trials are made up, with costs and scores that are known."""

import itertools
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pandas as pd

from entrypoints.trials.frame import ABOUT, OF_POINT, OF_STUDY, Frame

SHARES = np.linspace(0, 1, 21)  # of the training, at which a curve has points
STEPS = 1000  # of a trial that has no `steps` of its own


def study(
    levels,
    costs=None,
    score=lambda row: 0.66,
    *,
    curves=None,
    metric="val_rmse",
    folds=10,
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
    configurations = levels
    if isinstance(levels, Mapping):
        configurations = [dict(zip(levels, values, strict=True)) for values in itertools.product(*levels.values())]
    order = random.permutation(len(configurations))
    rows = [configurations[place] | {"number": number} for number, place in enumerate(order, 1)]
    names = tuple(configurations[0])
    run_id = f"{name} {seed}"
    ids = [f"{seed}_{place:05d}" for place in range(len(rows))]
    known = {
        "study": run_id,
        "trial_id": ids,
        "run_id": [f"run_{trial_id}" for trial_id in ids],
        "name": [" ".join(f"{key}={row[key]}" for key in names) for row in rows],
        "number": range(1, len(rows) + 1),
        "axis": "training step",
        "status": "FINISHED",
        "diverged": [diverged(row) for row in rows],
        "host": "machine",
    }
    trials = pd.DataFrame(dict.fromkeys(ABOUT) | known | (about or {}))
    for column in names:
        trials[column] = [row[column] for row in rows]
    for cost, of in (costs or {}).items():
        spread = noise[cost] if isinstance(noise, Mapping) else noise
        trials[cost] = [of(row) * np.exp(random.normal(0, spread)) for row in rows]

    by_fold = pd.DataFrame(columns=["study", "trial_id", "fold"])
    if metric is not None:
        hard = random.normal(0, fold_sd, folds)
        models = {}
        scores = []
        for row in rows:
            model = repr([row[column] for column in names if column not in same_model])
            if model not in models:
                models[model] = score(row) + hard + random.normal(0, model_sd, folds)
            scores.append(models[model])
        trials[metric] = [of_trial.mean() for of_trial in scores]
        by_fold = pd.DataFrame({"study": run_id, "trial_id": np.repeat(ids, folds)})
        by_fold["fold"] = np.tile(range(folds), len(ids))
        by_fold[metric] = np.concatenate(scores)

    steps = trials.get("steps", [STEPS] * len(rows))
    points = [
        (run_id, trial_id, curve, round(share * length), of(row, share))
        for curve, of in (curves or {}).items()
        for trial_id, row, length in zip(ids, rows, steps, strict=True)
        for share in SHARES
    ]
    of_study = {
        "name": name,
        "experiment_id": "0",
        "dataset": "red_wine",
        "digest": "d",
        "key": "k",
        "score": metric,
        "higher_is_better": metric is not None and "accuracy" in metric,
        "choose": "best",
        "search": "grid",
        "seed": seed,
        "planned": len(rows),
        **(of_study or {}),
    }
    studies = pd.DataFrame([dict.fromkeys(OF_STUDY) | of_study], index=[run_id], dtype=object)
    return Frame(studies, trials, by_fold, pd.DataFrame(points, columns=OF_POINT), names)


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
