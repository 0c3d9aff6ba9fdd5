"""What a page says of hyperparameters: only what was found, in units, and what was not."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from made_studies import made_study

from entrypoints.limits.noise import Noise
from entrypoints.reporting.findings import Findings
from entrypoints.reporting.hyperparameters import cost_law, effects, tol_savings
from entrypoints.reporting.hyperparameters.answers import (
    change_of,
    details,
    effects_table,
    noise_unknown,
    not_found,
    not_judged,
    sentences,
)
from entrypoints.reporting.hyperparameters.interactions import interactions
from entrypoints.reporting.studies import Study


def _found(study: Study) -> Findings:
    found = Findings()
    found.add("effects", effects.effects(study))
    found.add("interactions", interactions(study))
    found.add("cost_law", cost_law.cost_law(study))
    found.add("tol_savings", tol_savings.tol_savings(study))
    return found


def _tuned(tol: tuple[float, ...] = (0.0,)) -> Study:
    """A study as `tune` leaves it: batches change costs, the rate the score, alpha nothing; most of rate 1 diverges."""
    random = np.random.default_rng(0)
    axes = np.meshgrid([2, 64, 512], [0.01, 0.1, 1.0], range(8), tol)
    size, rate, alpha, tols = (axis.ravel() for axis in axes)
    noise = random.normal(scale=0.01, size=(4, len(size)))
    step_ms = (0.3 + 0.001 * size) * (1 + noise[0])
    steps = np.where(tols > 1e-5, 300, 1000) // size + 10
    columns: dict[str, Any] = {
        "val_rmse": 0.65 + 0.1 * (rate > 0.05) + noise[1] / 10,
        "mean_step_time_ms": step_ms,
        "steps": steps,
        "training_time_s": steps * step_ms / 1e3,
        "model_memory_mb": 0.5 + size / 64 + noise[2],
        "inference_latency_ms": 0.05 * (1 + noise[3]),
    }
    searched = {"batch_size": size, "learning_rate": rate, "alpha": alpha}
    searched |= {"tol": tols} if len(tol) > 1 else {}
    diverged = (rate == 1) & ((alpha > 0) | (size > 2) | (tols > 0))
    study = made_study(list(searched), "val_rmse", **searched, **columns, diverged=diverged)
    return replace(study, noises={"val_rmse": Noise("val_rmse", 0.002, "val_rmse", 0.005, 9, "folds")})


def test_answer_is_two_sentences_in_units() -> None:
    """The score first, then the costs, strongest first, those between the same two levels together."""
    study = _tuned()
    found = _found(study)
    score, costs = sentences(study, found)
    rows = {(row["metric"], row["hyperparameter"]): row for row in found.rows("effects")}
    rmse = rows["val_rmse", "learning_rate"]
    assert score == (
        f"`learning_rate` 0.01 -> 0.1: `val_rmse` {rmse['first']:.4g} -> {rmse['second']:.4g} ({change_of(rmse)})."
    )
    assert score.endswith(" more).")
    seconds, memory = rows["training_time_s", "batch_size"], rows["model_memory_mb", "batch_size"]
    assert costs == (
        f"`batch_size` 2 -> 512: `model_memory_mb` {memory['first']:.4g} -> {memory['second']:.4g} MB "
        f"({change_of(memory)}), `training_time_s` {seconds['first']:.4g} -> {seconds['second']:.4g} s "
        f"({change_of(seconds)})."
    )
    assert costs.count("times") == 2


def test_metrics_without_a_known_noise_are_named() -> None:
    """Of those that the answer says something of."""
    study = _tuned()
    assert noise_unknown(study, found := _found(study)) == (
        "How much `model_memory_mb`, `training_time_s` differ from run to run is not known."
    )
    names = ("val_rmse", "model_memory_mb", "training_time_s")
    known = {name: Noise(name, 0.01, "share", 0.03, 9, "kinds") for name in names}
    assert noise_unknown(replace(study, noises=known), found) == ""


def test_details_say_the_law_and_what_was_not_found_and_not_judged() -> None:
    """A line each."""
    found = _found(study := _tuned())
    (law,), missed, unjudged = details(study, found), not_found(found), not_judged(found)
    assert law.startswith("A step takes 0.3 ms + 0.00")
    assert "ms a row (95 %: 0.29" in law
    assert law.endswith("49 trials; training takes steps x that, error 0.7 %).")
    assert missed == (
        "Tested and not found, beyond chance, noise and 5 %: any effect of `alpha`; any effect on "
        "`inference_latency_ms`."
    )
    assert unjudged == (
        "Not judged: `learning_rate` 1 (1): fewer than three trials ran to their end there (their number in brackets)."
    )


def test_tol_that_was_searched_says_what_it_saved() -> None:
    """Against the smallest, with what it did to the score; one that saved nothing is left out."""
    study = _tuned(tol=(0.0, 1e-6, 0.001))
    (line,) = [line for line in details(study, _found(study)) if line.startswith("`tol`")]
    assert line.startswith("`tol` against 0: 0.001: `steps` ")
    assert "% less), `val_rmse` 0.69" in line
    assert line.endswith(" (within noise).")
    unsaved = replace(study, trials=study.trials.assign(steps=1.0, training_time_s=2.0))
    assert not any(line.startswith("`tol`") for line in details(unsaved, _found(unsaved)))


def test_pair_is_said_with_the_cell_that_neither_alone_makes() -> None:
    """In the metric's unit."""
    size, kind, seed = (axis.ravel() for axis in np.meshgrid([1, 2], [0, 1], range(12)))
    seconds = 1 + 9.0 * ((size == 2) & (kind == 1)) + seed / 100
    study = made_study(["size", "kind"], size=size, kind=kind, seconds_s=seconds)
    (line,) = [line for line in details(study, _found(study)) if line.startswith("Only together")]
    assert re.search(r"`seconds_s` \S+ \(12 trials, 95 % interval \S+ to \S+\), where each alone makes \S+ s\.", line)


def test_study_without_effects_says_so_and_nothing_else() -> None:
    """The metrics that were tested are named; a hyperparameter with as many values as trials is not judged."""
    random = np.random.default_rng(0)
    level = np.tile([0, 1], 10)
    name = [f"n{place}" for place in range(20)]
    study = made_study(["level", "name"], "loss", level=level, name=name, loss=random.normal(size=20))
    found = _found(study)
    assert sentences(study, found) == []
    assert effects_table(found, ["loss"]) == ""
    assert not_found(found) == "Tested and not found, beyond chance, noise and 5 %: any effect on `loss`."
    assert not_judged(found) == "Not judged: `name` (one value, or as many as trials)."
    assert details(study, found) == details(study, Findings()) == []


def _small(size: int, slower_s: float, tests: int) -> Findings:
    """A study of so few trials that differ in two hyperparameters, one of which may take longer."""
    random = np.random.default_rng(0)
    batch, rate = np.arange(size) % 2, np.arange(size) // 2 % 2
    others = {f"cost{number}": random.normal(size=size) for number in range(tests // 2 - 1)}
    seconds = random.normal(size=size) / 100 + slower_s * batch
    return _found(made_study(["batch", "rate"], batch=batch, rate=rate, seconds_s=1 + seconds, **others))


def test_effect_that_so_few_trials_could_never_show_is_not_called_absent() -> None:
    """Of 8 trials, 4 against 4, p is 0.042 at least; it says which p is needed, and how many trials could have it."""
    found = _small(8, slower_s=9.0, tests=20)
    assert not_found(found) == ""
    assert not_judged(found) == (
        "Not judged: effects of `batch`, `rate` (8 trials are too few: even if `batch` set all of them apart, p would "
        "be 0.0418, and the next of 20 tests needs 0.0005; about 20 trials could show it)."
    )
    shown = _small(20, slower_s=9.0, tests=20)
    assert "`batch`" in sentences(made_study(["batch"], batch=[0, 1]), shown)[0]


def test_what_is_partly_out_of_reach_is_not_called_absent() -> None:
    """Of 24 trials two halves could be told apart, six groups of four could not."""
    random = np.random.default_rng(0)
    size, rate = np.arange(24) % 6, np.arange(24) // 12
    others = {f"cost{number}": random.normal(size=24) for number in range(39)}
    found = _found(made_study(["size", "rate"], size=size, rate=rate, seconds_s=10.0**size, **others))
    assert not_found(found).endswith("`cost38` but those not judged.")
    assert not_judged(found).startswith("Not judged: effects of `size` (24 trials are too few: ")


def test_trials_that_lie_unevenly_over_the_values_are_said_to() -> None:
    """As where most of a rate diverged: more trials alone would not help."""
    random = np.random.default_rng(0)
    others = {f"cost{number}": random.normal(size=32) for number in range(40)}
    found = _found(made_study(["rate"], rate=[0] * 30 + [1] * 2, **others))
    assert "`rate` (32 trials lie too unevenly over its values: " in not_judged(found)
    assert not_judged(found).endswith("about 22 trials, evenly spread, could show it).")


def test_effect_within_reach_that_is_not_there_is_tested_and_not_found() -> None:
    """With the same tests over more trials."""
    found = _small(24, slower_s=0.0, tests=20)
    assert "any effect on `seconds_s`" in not_found(found)
    assert not_judged(found) == ""


def test_table_has_a_row_for_each_metric_with_an_effect() -> None:
    """In the order that was asked for."""
    table = effects_table(_found(_tuned()), ["training_time_s", "inference_latency_ms", "val_rmse"]).splitlines()
    assert [line.split(" | ")[0] for line in table[2:]] == ["| `training_time_s`", "| `val_rmse`"]
    assert "`batch_size` 2 -> 512 | 0.1" in table[2]
    assert " times less | " in table[2]


@pytest.mark.parametrize(
    ("low", "high", "agree", "expected"),
    [
        (210.0, 260.4, True, "210 to 260 times less"),
        (210.0, 260.4, False, "typically 210 to 260 times less"),
        (33.31, 33.33, True, "33.3 times less"),
        (np.nan, np.nan, True, "about 230 times less"),
    ],
)
def test_interval_is_said_as_a_range(low: float, high: float, agree: bool, expected: str) -> None:
    """As one number where it reads as one, or where there is no range."""
    row = {"change": 230.0, "change_low": low, "change_high": high, "change_in": "times less", "medians_agree": agree}
    assert change_of(row) == expected
