"""What the page of a report has room for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from made_studies import made_study
from mlflow.entities import Run, RunData, RunInfo

from entrypoints.limits.costs import SYSTEM_FIGURES
from entrypoints.limits.order_effect import Order
from entrypoints.reporting.findings import Findings
from entrypoints.reporting.hyperparameters.effects import effects
from entrypoints.reporting.one_study.answers import description, shown
from entrypoints.reporting.studies import Study

RUN = Run(RunInfo("1" * 32, "0", "me", "FINISHED", 0, 1, "active", run_name="tune"), RunData())


def test_page_shows_the_score_and_every_system_figure() -> None:
    """Also those of which more is better, such as the CPU share; of another script the first of what it has."""
    trials = pd.DataFrame({name: [1.0] for name in ("size", "val_loss", "val_rmse", *SYSTEM_FIGURES)})
    assert shown(Study(RUN, trials, pd.DataFrame(), ["size"], "val_rmse", False)) == ["val_rmse", *SYSTEM_FIGURES]
    others = pd.DataFrame({name: [1.0] for name in ("size", "speed", "heat")})
    assert shown(Study(RUN, others, pd.DataFrame(), ["size"], None, False)) == ["speed", "heat"]


@pytest.mark.parametrize(
    ("regrets", "of_trials", "says"),
    [
        pytest.param(
            (0.0, 0.0, 0.2),
            9,
            "(replayed), the best of all trials is kept down to 8, which saves 10 % of the CPU;",
            id="all",
        ),
        pytest.param((0.0, 0.1, 0.0), 9, "(replayed), the best of all trials is kept down to 9,", id="lost in between"),
        pytest.param((0.1, 0.0, 0.2), 9, "(replayed), the tightest, 7, saves 20 %", id="never kept"),
        pytest.param(
            (0.0, 0.0, 0.0),
            9,
            "(replayed), the best of all trials is kept down to the tightest, 7, which saves 20 %",
            id="kept to the end",
        ),
        pytest.param(
            (0.1, 0.1, 0.0),
            9,
            "(replayed), the tightest, 7, saves 20 % and keeps the best of all",
            id="kept at the end",
        ),
        pytest.param(
            (0.0, 0.0, 0.2), 99, "(replayed over 9 of 99 trials), the best of all trials is kept", id="of many"
        ),
    ],
)
def test_best_trial_is_said_to_be_kept_as_far_as_each_looser_limit_keeps_it(
    regrets: tuple[float, ...], of_trials: int, says: str
) -> None:
    """A limit may stop it that a tighter one, with other predictions, does not."""
    study, found = made_study(["size"], size=[1, 2]), Findings()
    found.add("trials", study.trials)
    rows = [
        {"metric": "elapsed_s", "limit": 9 - place, "saved_cpu_percent": 10.0 * place, "val_regret_all": regret}
        | {"trials": 9, "of_trials": of_trials}
        for place, regret in enumerate(regrets)
    ]
    found.add("tradeoff", rows)
    assert f"As the limit on `elapsed_s` tightens {says}" in description("0", "1" * 32, [study], found)


@pytest.mark.parametrize(
    ("told", "slower_s"),
    [
        pytest.param(False, 2.0, id="order is not told"),
        pytest.param(True, 2.0, id="effect and order are told"),
        pytest.param(True, 0.0, id="no effect is told"),
    ],
)
def test_page_says_of_the_order_what_its_effects_are_without(told: bool, slower_s: float) -> None:
    """Of a metric on which the page tells an effect."""
    place = np.random.default_rng(0).permutation(40) + 1
    elapsed_s = 1 + place / 40 + slower_s * (np.arange(40) % 2)
    order = Order("elapsed_s", 0.9, 0.0, 0.0, 1.0, 0.5, told=told)
    study = made_study(["size"], size=[1, 2] * 20, elapsed_s=elapsed_s, place=place)
    study, found = replace(study, order={"elapsed_s": order}), Findings()
    found.add("trials", study.trials)
    found.add("effects", effects(study))
    page = description("0", "1" * 32, [study], found)
    assert ("`elapsed_s` rises by 1 (50 %): compare" in page) is told
    assert ("Effects on `elapsed_s` are given for the middle of that order." in page) is (told and slower_s > 0)
