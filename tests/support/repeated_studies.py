"""Full studies of one dataset that repeat each other, made up: what they share, and how each differs."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from mlflow.entities import Param, Run, RunData, RunInfo, RunTag

from entrypoints.limits.noise import REPEATABILITY, SHARE, Noise
from entrypoints.reporting.studies import Study

GRID = list(itertools.product((2, 8, 32, 128), (0.1, 0.01, 0.001)))
HYPERPARAMETERS = ["batch_size", "learning_rate"]
ERROR, MARGIN = 0.001, 0.0029  # of the score: of a difference, and from which on one counts
SHARES = {"training_time_s": 0.02, "peak_memory_mb": 0.001}  # the noise of costs


def noises() -> dict[str, Noise]:
    """What every such study measured of noise."""
    costs = {name: Noise(name, share, SHARE, REPEATABILITY * share, 20, "kinds") for name, share in SHARES.items()}
    return {"val_rmse": Noise("val_rmse", ERROR, "val_rmse", MARGIN, 90, "folds")} | costs


def figures(times: float = 1.0, seed: int = 0) -> dict[str, list[float]]:
    """The figures of each configuration of the grid: the score gets worse along it, small batches take longer.

    Args:
        times: what each takes of the usual time.
        seed: of the noise of its costs.
    """
    random = np.random.default_rng(seed)
    return {
        "val_rmse": [0.6 + 0.01 * place for place in range(len(GRID))],
        "training_time_s": [times * (1 + 1 / size) * random.lognormal(0, 0.02) for size, _ in GRID],
        "peak_memory_mb": [200 + size / 100 + 0.1 * random.normal() for size, _ in GRID],
    }


def study(
    name: str = "a",
    columns: Mapping[str, Sequence[Any]] | None = None,
    *,
    diverged: Sequence[int] = (),
    rows: Sequence[int] = range(len(GRID)),
    host: Mapping[str, tuple[str, ...]] | None = None,
    seed: int = 0,
    known: Mapping[str, Noise] | None = None,
    cpus: int = 0,
) -> Study:
    """One of them, with these trials of the grid, in this order, and noise as ``noises`` unless it is given."""
    trials: pd.DataFrame = pd.DataFrame(GRID, columns=HYPERPARAMETERS)
    trials = trials.assign(status="FINISHED", run_id=name, trial_id="t", **(columns or figures()))
    trials["diverged"] = trials.index.isin(diverged)
    tags = [RunTag("sysmetrics.dataset", "red_wine")]
    data = RunData(params=[Param("cpus", str(cpus))], tags=tags)
    run = Run(RunInfo(name * 32, "0", "me", "FINISHED", 0, 1, "active", run_name="tune"), data)
    return Study(
        run,
        trials.iloc[list(rows)].reset_index(drop=True),
        pd.DataFrame(),
        HYPERPARAMETERS,
        "val_rmse",
        False,
        noises=noises() if known is None else known,
        hosts=host or {"cpu_model": ("one",)},
        fixed={"seed": str(seed)},
    )
