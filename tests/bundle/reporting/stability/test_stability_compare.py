"""What is called the same over repeated studies: best configurations and ranks."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from repeated_studies import GRID, figures, noises, study
from scipy import stats

from entrypoints.errors import UserError
from entrypoints.reporting.stability.compare import INCOMPLETE, SAME, UNCLEAR, WITHIN, WORSE, compare


def _with_scores(scores: dict[int, float], **about: Any) -> Any:
    """A study in which some configurations have other scores."""
    columns = figures()
    for place, score in scores.items():
        columns["val_rmse"][place] = score
    return study("b", columns, **about)


@pytest.mark.parametrize(
    ("other", "verdict", "loss"),
    [
        pytest.param(study("b"), SAME, 0.0, id="the same"),
        pytest.param(_with_scores({5: 0.5975}), WITHIN, 0.0025, id="less than the margin"),
        pytest.param(_with_scores({5: 0.59}), WORSE, 0.01, id="more"),
        pytest.param(_with_scores({5: 0.5967}), UNCLEAR, 0.0033, id="between the margin and one in a hundred"),
        pytest.param(study("b", diverged=[0]), INCOMPLETE, math.nan, id="diverged there"),
        pytest.param(_with_scores({5: 0.59}, known={}), UNCLEAR, 0.01, id="noise unknown"),
    ],
)
def test_best_configuration_is_judged_in_the_other_study(other: Any, verdict: str, loss: float) -> None:
    """By what it loses there against the best there, and that study's noise."""
    rows = compare([study(), other]).found.rows("stability_best")
    row = next(row for row in rows if row["study"] == "a")
    assert (row["configuration"], row["in_study"]) == ("batch_size=2, learning_rate=0.1", "b")
    assert row["loss"] == pytest.approx(loss, nan_ok=True)
    assert row["verdict"] == verdict


def test_higher_scores_lose_when_they_are_lower() -> None:
    """Of an accuracy the best is the highest."""
    columns = figures()
    columns["val_rmse"] = [-score for score in columns["val_rmse"]]
    columns["val_rmse"][3] = -0.59
    studies = [replace(study(name, each), higher_is_better=True) for name, each in (("a", columns), ("b", columns))]
    studies[1].trials.loc[3, "val_rmse"] = -0.9
    rows = compare(studies).found.rows("stability_best")
    assert [row["loss"] for row in rows] == pytest.approx([0.3, 0.01])


def test_safest_choice_loses_least_where_it_loses_most() -> None:
    """The second configuration, which is never the best; and both are equal to the best within noise."""
    first, second = _with_scores({0: 0.6, 1: 0.6015, 2: 0.6025}), _with_scores({0: 0.6025, 1: 0.6015, 2: 0.6})
    (row,) = compare([first, second]).found.rows("stability_choice")
    assert (row["configuration"], row["equal_in_all"]) == ("batch_size=2, learning_rate=0.01", 3)
    assert row["worst_loss"] == pytest.approx(0.0015)


def test_without_noise_no_configuration_is_counted_as_equal_to_the_best() -> None:
    """Not as none either, if but one study lacks it: the best equals itself."""
    found = compare([study(), study("b", known={})]).found
    (row,) = found.rows("stability_choice")
    assert (row["worst_loss"], row["configurations"]) == (0, len(GRID))
    assert "equal_in_all" not in row
    assert "equal_in_all" not in found.tables["stability_configurations"]


def test_ranks_are_those_of_the_textbook() -> None:
    """Spearman's correlation, and Kendall's W, which is its mean over pairs of studies but for a scale."""
    random = np.random.default_rng(0)
    scores = [random.normal(size=len(GRID)) for _ in range(3)]
    studies = [study(name, figures() | {"val_rmse": own.tolist()}) for name, own in zip("abc", scores, strict=True)]
    rows = compare(studies).found.rows("stability_ranks")
    expected = [stats.spearmanr(scores[one], scores[two]).statistic for one, two in ((0, 1), (0, 2), (1, 2))]
    assert [row["spearman"] for row in rows] == pytest.approx(expected)
    assert rows[0]["kendalls_w"] == pytest.approx((2 * float(np.mean(expected)) + 1) / 3)
    top = [set(np.argsort(own)[:5]) for own in scores]
    assert [row["top_shared"] for row in rows] == [len(top[0] & top[1]), len(top[0] & top[2]), len(top[1] & top[2])]
    assert {row["top_shared_by_all"] for row in rows} == {len(set.intersection(*top))}


def test_equal_ranks_are_no_chance() -> None:
    """All agree: W is 1, and the p-value is as small as permutations can tell."""
    (row,) = compare([study(), study("b")]).found.rows("stability_ranks")
    assert (row["kendalls_w"], row["spearman"], row["top_shared"]) == pytest.approx((1.0, 1.0, 5))
    assert row["p_value"] == pytest.approx(1e-4)


def test_configurations_are_matched_by_their_values() -> None:
    """In whatever order they ran, and whether a value is written as 8 or 8.0; others are left out and counted."""
    other = study("b", rows=[5, 4, 3, 2, 1, 0, 6, 7, 8, 9])
    other.trials["batch_size"] = other.trials["batch_size"].astype(float)
    stability = compare([study(), other])
    assert stability.shared == 10
    configurations = stability.found.tables["stability_configurations"]
    by_study = configurations.pivot(index="configuration", columns="study", values="val_rmse")
    assert len(by_study) == 10
    assert by_study["a"].tolist() == by_study["b"].tolist()
    assert "2 configurations were not tried in all studies; they are left out." in stability.found.open_questions


def test_diverged_configurations_have_no_rank() -> None:
    """Nor in the other study, and what is complete in too few is not ranked at all."""
    ranked = compare([study(diverged=[1, 2]), study("b", diverged=[3])]).found.tables["stability_configurations"]
    assert sorted(ranked.loc[ranked["study"] == "a", "rank"]) == list(range(1, 10))
    few = compare([study(diverged=range(7)), study("b")]).found
    assert "stability_ranks" not in few.tables
    assert "Ranks: 5 configurations came to their end in all studies, and 6 are needed." in few.open_questions


def test_studies_without_a_common_configuration_are_a_mistake() -> None:
    """Random searches, for instance."""
    with pytest.raises(UserError, match="they tried no configuration in common; give studies of the same grid"):
        compare([study(rows=[0, 1]), study("b", rows=[2, 3])])


def test_scores_that_nobody_knows_are_not_compared() -> None:
    """Costs are."""
    found = compare([replace(study(name), score=None) for name in "ab"]).found
    assert {"stability_best", "stability_ranks"}.isdisjoint(found.tables)
    assert "stability_costs" in found.tables
    assert "Best configuration and ranks: nothing says what ranks the trials; give metric." in found.open_questions


def test_studies_in_which_nothing_differs_are_rarely_called_stable_or_not() -> None:
    """Of 20 pairs of studies whose scores are noise at most one says anything of the best, of ranks or of costs."""
    random, said = np.random.default_rng(0), 0
    for draw in range(20):
        pair = []
        for place, name in enumerate("ab"):
            scores = 0.6 + noises()["val_rmse"].noise / 2**0.5 * random.normal(size=len(GRID))  # type: ignore[operator]
            pair.append(study(name, figures(seed=2 * draw + place) | {"val_rmse": scores.tolist()}))
        found = compare(pair).found
        verdicts = pd.concat([found.tables["stability_best"]["verdict"], found.tables["stability_costs"]["verdict"]])
        said += verdicts.isin([WORSE, "more", "less"]).any() or found.rows("stability_ranks")[0]["p_value"] < 0.01
    assert said <= 1
