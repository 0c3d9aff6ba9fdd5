"""Studies whose trials are made up in memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from mlflow.entities import Run, RunData, RunInfo

from entrypoints.reporting.studies import ABOUT, Study

RUN = Run(RunInfo("1" * 32, "0", "me", "FINISHED", 0, 1, "active", run_name="tune"), RunData())


def made_study(hyperparameters: list[str], ranked_by: str | None = None, **columns: Any) -> Study:
    """A study of these trials, all of which ended well unless the columns say otherwise. A low score is good."""
    count = len(columns[hyperparameters[0]])
    about: dict[str, Any] = {name: [None] * count for name in ABOUT}
    about |= {"run_id": [f"run{number}" for number in range(count)], "status": "FINISHED", "diverged": False}
    trials: pd.DataFrame = pd.DataFrame(about | columns)
    return Study(RUN, trials, pd.DataFrame(), hyperparameters, ranked_by, False)


def memory_and_time() -> Study:
    """Memory grows with the batch, time with the batch for one solver only, and loss with nothing."""
    random = np.random.default_rng(0)
    size, solver, _ = (axis.ravel() for axis in np.meshgrid([8, 64, 512], ["adam", "sgd"], range(4)))
    memory = np.log(size) + random.normal(scale=0.1, size=len(size))
    # Neither alone tells the time: its order is the opposite for the other solver.
    seconds = np.where(solver == "adam", 1, -1) * np.log(size / 64) + random.normal(scale=0.1, size=len(size))
    loss = random.normal(size=len(size))
    return made_study(["size", "solver"], size=size, solver=solver, memory_mb=memory, seconds=seconds, loss=loss)
