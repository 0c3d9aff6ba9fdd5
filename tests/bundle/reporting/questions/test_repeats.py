"""What is stable over repeated studies: the safest choice, ranks, and which costs differ."""

from __future__ import annotations

from typing import Any

import pytest
from made_up_frames import study, together

from entrypoints.frame import Frame
from entrypoints.reporting.questions.repeats import answer

LEVELS = {"batch_size": [8, 64, 512], "learning_rate": [0.1, 0.01, 0.001]}


def made(seed: int, times: float = 1.0, rate: float = 0.3, noise: float = 0.02, **changes: Any) -> Frame:
    """A study whose score depends on the rate, on a machine that is this many times as slow."""
    costs = {
        "training_time_s": lambda row: times * 8 / row["batch_size"],
        "peak_memory_mb": lambda row: 177 + row["batch_size"] / 10,
    }
    return study(LEVELS, costs, lambda row: 0.6 + rate * row["learning_rate"], noise=noise, seed=seed, **changes)


def test_safest_configuration_its_costs_and_its_address_come_first() -> None:
    """It is chosen by the largest loss in any study; the address is that of the first study's model."""
    frame = together(made(0), made(1), made(2))
    best = answer(frame).table["configuration"].iloc[0]
    trials = frame.trials[frame.trials["study"] == frame.first]
    run_id = trials[trials["name"] == best.replace(",", "")]["run_id"].item()
    frame.studies.loc[frame.first, ["model", "model_run_id"]] = ["models:/m-1", run_id]
    found = answer(frame)
    assert found.sentences[0].startswith(f"**Take {best}**: it is ")
    assert "in each of 3 studies, within noise (" in found.sentences[0]
    assert found.sentences[1].startswith("**It costs** `training_time_s` ")
    assert found.sentences[2] == '**Load it** with `mlflow.pyfunc.load_model("models:/m-1")`.'
    assert found.table["worst_loss"].iloc[0] == found.table["worst_loss"].min()


@pytest.mark.parametrize(("rate", "low", "high"), [(3.0, 0.6, 1.0), (0.0, -0.7, 0.8)])
def test_ranks_agree_where_hyperparameters_change_the_score(rate: float, low: float, high: float) -> None:
    """Spearman's correlation over the shared configurations."""
    found = answer(together(made(0, rate=rate), made(1, rate=rate)))
    (sentence,) = [each for each in found.sentences if "Spearman" in each]
    assert low < float(sentence.split()[-1].rstrip(".")) <= high


def test_studies_that_share_nothing_say_so() -> None:
    """No configuration ran to its end in all."""
    other = study({"batch_size": [9], "learning_rate": [0.5]}, seed=1)
    assert "no configuration ran to its end in all studies" in answer(together(made(0), other)).open_question


def test_other_scripts_studies_are_compared_by_their_costs_alone() -> None:
    """Without a metric nothing ranks their trials."""
    found = answer(together(made(0, metric=None), made(1, times=2.0, metric=None)))
    assert "give metric and mode" in found.open_question
    assert found.sentences[0].startswith("`training_time_s` in seed 1 is 2")
