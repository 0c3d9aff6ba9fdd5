"""What the page of a report has room for."""

from __future__ import annotations

import pandas as pd
from mlflow.entities import Run, RunData, RunInfo

from entrypoints.limits.costs import SYSTEM_FIGURES
from entrypoints.reporting.one_study.answers import shown
from entrypoints.reporting.studies import Study

RUN = Run(RunInfo("1" * 32, "0", "me", "FINISHED", 0, 1, "active", run_name="tune"), RunData())


def test_page_shows_the_score_and_every_system_figure() -> None:
    """Also those of which more is better, such as the CPU share; of another script the first of what it has."""
    trials = pd.DataFrame({name: [1.0] for name in ("size", "val_loss", "val_rmse", *SYSTEM_FIGURES)})
    assert shown(Study(RUN, trials, pd.DataFrame(), ["size"], "val_rmse", False)) == ["val_rmse", *SYSTEM_FIGURES]
    others = pd.DataFrame({name: [1.0] for name in ("size", "speed", "heat")})
    assert shown(Study(RUN, others, pd.DataFrame(), ["size"], None, False)) == ["speed", "heat"]
