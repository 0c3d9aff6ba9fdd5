"""What a page says of repeated studies, from tables that are made up."""

from __future__ import annotations

import math
from string import ascii_lowercase
from typing import Any

import pytest
from repeated_studies import study

from entrypoints.reporting.stability.answers import description, difference, in_short
from entrypoints.reporting.stability.compare import Stability

BEST = {
    "study": "a",
    "in_study": "b",
    "configuration": "rate=1",
    "score": 0.7,
    "best_score": 0.6,
    "loss": 0.1,
    "margin": 0.01,
    "verdict": "worse",
}
RANKS = {
    "first": "a",
    "second": "b",
    "configurations": 12,
    "spearman": 0.8,
    "top": 5,
    "top_shared": 4,
    "by_chance": 25 / 12,
    "kendalls_w": 0.9,
    "w_by_chance": 0.5,
    "p_value": 0.0001,
    "top_shared_by_all": 4,
}
COST = {
    "figure": "training_time_s",
    "first": "a",
    "second": "b",
    "configurations": 12,
    "median_first": 1.0,
    "median_second": 1.8,
    "ratio": 1.8,
    "low": 1.7,
    "high": 1.9,
    "low_90": 1.5,
    "high_90": 2.1,
    "within_percent": 90.0,
    "noise_percent": 6.0,
    "limit": 1.5,
    "limit_changes": 7,
    "verdict": "more",
}
SAME_MEMORY = COST | {"figure": "peak_memory_mb", "ratio": 1.0, "within_percent": 4.0, "verdict": "agrees"}
UNCLEAR = COST | {"figure": "elapsed_s", "ratio": 1.1, "verdict": "unclear"}


def _stability(seeds: tuple[int, int] = (0, 1), other: str = "one", **tables: list[dict[str, Any]]) -> Stability:
    host = {"cpu_model": (other,)}
    stability = Stability({"a": study("a", seed=seeds[0]), "b": study("b", seed=seeds[1], host=host)}, 12)
    for name, rows in tables.items():
        stability.found.add(f"stability_{name}", rows)
    return stability


@pytest.mark.parametrize(
    ("verdicts", "says"),
    [
        pytest.param(["the same"] * 2, "the same configuration is best in all", id="same"),
        pytest.param(
            ["the same", "within noise"], "the best configurations differ, and are equal within noise", id="noise"
        ),
        pytest.param(["within noise", "worse"], "the best configuration depends on the study", id="worse"),
        pytest.param(["did not come to its end"], "the best configuration depends on the study", id="diverged"),
        pytest.param(
            ["unclear", "within noise"],
            "the best configurations differ, but it is unclear whether by more than noise",
            id="unclear",
        ),
        pytest.param([], "what is best cannot be compared", id="unknown"),
    ],
)
def test_first_line_says_whether_the_best_is_stable(verdicts: list[str], says: str) -> None:
    """And which seeds it is about."""
    line = in_short(_stability(best=[BEST | {"verdict": each} for each in verdicts])).splitlines()[0]
    assert line == f"red_wine in 2 studies (seeds 0, 1): {says}"


@pytest.mark.parametrize(
    ("counted", "says"),
    [
        pytest.param({"equal_in_all": 3}, "3 of 12 configurations equal the best within noise in all", id="known"),
        pytest.param(
            {}, "How many configurations equal the best is unknown, since the noise of a study is.", id="unknown"
        ),
    ],
)
def test_safest_choice_is_said_with_what_equals_it(counted: dict[str, int], says: str) -> None:
    """If noise tells that."""
    choice = {"configuration": "rate=1", "worst_loss": 0.0, "configurations": 12}
    page = description("0", "r", _stability(choice=[choice | counted]), [])
    assert f"Safest choice: rate=1, the best in each study. {says}" in page


def test_second_line_says_how_far_ranks_and_costs_agree() -> None:
    """What differs, with its noise; how many figures agree; nothing of what is unclear."""
    line = in_short(_stability(ranks=[RANKS], costs=[SAME_MEMORY, UNCLEAR, COST])).splitlines()[1]
    assert line == (
        "Ranks of 12 configurations agree to W 0.90 (1: fully; by chance 0.50; p < 0.001); of the 5 best 4 are the "
        "same in all. `training_time_s` is 1.80 times as high in b as in a (noise 6 %); 1 of 3 figures agree within "
        "4 %."
    )


def test_ranks_that_chance_explains_are_not_said_to_agree() -> None:
    """At one in a hundred, nor are the best of them counted."""
    line = in_short(_stability(ranks=[RANKS | {"p_value": 0.02}])).splitlines()[1]
    assert (
        line == "Ranks of 12 configurations agree no more than by chance: W 0.90 (1: fully; by chance 0.50; p = 0.02)."
    )


def test_costs_of_two_hosts_are_said_to_be_so_before_all_else() -> None:
    """In short, and as the first line about costs."""
    says = "Hosts differ: a ran on one; b ran on two: their costs are compared, never pooled."
    stability = _stability(other="two", costs=[COST])
    assert in_short(stability).splitlines()[1].startswith(says)
    assert f"### Costs\n\n{says}\n" in description("0", "r", stability, [])
    assert "Hosts differ" not in description("0", "r", _stability(costs=[COST]), [])


def test_costs_of_trials_beside_more_of_them_are_said_to_be_so() -> None:
    """As those of other hosts are; nothing is said of studies on as many cores."""
    says = "Trials at once differ (4 in a, 2 in b): what a trial costs also depends on how many run beside it."
    stability = Stability({"a": study("a", cpus=4), "b": study("b", cpus=2)}, 12)
    stability.found.add("stability_costs", [COST])
    assert in_short(stability).splitlines()[1].startswith(says)
    assert f"### Costs\n\n{says}\n" in description("0", "r", stability, [])
    assert "at once differ" not in description("0", "r", _stability(costs=[COST]), [])


def test_scores_of_other_seeds_are_said_to_be_of_other_rows() -> None:
    """But not where the seed is the same."""
    says = "Seeds differ, so the rows for training and test and the folds do, too"
    assert says in description("0", "r", _stability(best=[BEST]), [])
    assert says not in description("0", "r", _stability((0, 0), best=[BEST]), [])


def test_limits_are_told_of_figures_that_differ_alone() -> None:
    """With the limit in its unit, and of how many configurations it decides otherwise."""
    page = description("0", "r", _stability(costs=[COST, UNCLEAR, SAME_MEMORY]), [])
    limit = "A limit of 1.5 x the median of a decides otherwise on configurations of b: 7 of 12 by `training_time_s`"
    assert f"- {limit} (1.5 s).\n" in page
    assert "- `peak_memory_mb` agree within 4 %.\n" in page
    assert "decides otherwise" not in description("0", "r", _stability(costs=[UNCLEAR, SAME_MEMORY]), [])


def test_figure_that_agrees_with_one_study_alone_is_not_said_to_agree() -> None:
    """It has to agree with each."""
    page = description(
        "0", "r", _stability(costs=[SAME_MEMORY, SAME_MEMORY | {"second": "c", "verdict": "unclear"}]), []
    )
    assert "agree within" not in page


@pytest.mark.parametrize("count", [2, 5, 26])
def test_page_over_many_studies_keeps_its_end(count: int) -> None:
    """Which studies they are, how they were compared and where the rest is, with the figures: tables make room."""
    studies = {name: study(name, seed=seed) for seed, name in enumerate(ascii_lowercase[:count])}
    stability = Stability(studies, 12)
    about = {"name": "tune red_wine", "complete": 81, "trials": 81, "host": "a processor, and what else is known of it"}
    rows = [{"study": name, "study_id": each.run_id, "seed": each.fixed["seed"]} for name, each in studies.items()]
    stability.found.add("studies", [about | row for row in rows])
    stability.found.add("stability_best", [BEST] * count * (count - 1))
    stability.found.add("stability_costs", [COST | {"figure": f"cost_{each}_s"} for each in range(11 * (count - 1))])
    stability.found.open_questions.append("Something.")
    page = description("0", "r", stability, ["stability_costs"])
    assert len(page) <= 8000
    assert all(f"\n| {name} | [tune red_wine](#/experiments/0/runs/{name * 32}" in page for name in studies)
    for title in ("Not answered", "How it was compared", "Look further"):
        assert f"\n\n### {title}\n\n" in page
    assert "![stability costs]" in page
    assert page.endswith(").")
    assert ("| best in |" in page) is (count == 2)


def test_ratio_has_as_many_digits_as_it_needs() -> None:
    """Two decimals, and none from ten on."""
    assert difference(COST | {"ratio": 0.5555}).startswith("`training_time_s` is 0.56 times as high in b as in a")
    assert difference(COST | {"ratio": 123.4}).startswith("`training_time_s` is 123 times as high in b as in a")


def test_what_is_unknown_is_a_dash() -> None:
    """The score of a configuration that did not come to its end there, and the interval of too few."""
    best = BEST | {"score": math.nan, "loss": math.nan, "verdict": "did not come to its end"}
    few = COST | {"low": math.nan, "high": math.nan, "verdict": "too few configurations"}
    page = description("0", "r", _stability(best=[best], costs=[few]), [])
    assert "| a | rate=1 | b | - | 0.6 | - | 0.01 | did not come to its end |" in page
    assert "| 1.80 | - | 1.50 to 2.10 | 12 | 6 % | too few configurations |" in page
