"""Where two hyperparameters act together, by hand, and what chance may not make of them."""

from __future__ import annotations

import numpy as np
import pytest
from made_studies import made_study, memory_and_time
from scipy import stats

from entrypoints.reporting.hyperparameters.interactions import interactions
from entrypoints.reporting.studies import Study

pytestmark = pytest.mark.filterwarnings("error")


def test_interaction_is_found_where_neither_alone_tells() -> None:
    """And not where one hyperparameter alone does, or nothing does."""
    found = interactions(memory_and_time())
    assert found["metric"].tolist() == ["seconds"]
    (row,) = found.to_dict("records")
    assert (row["first"], row["second"], row["trials"], row["left_out"]) == ("size", "solver", 24, 0)
    assert row["share_of_variance"] > 0.7
    assert row["p_holm"] < 0.001
    assert row["first_at"] in ("8", "512")  # the middle is where neither does anything
    assert abs(row["median"] - row["expected"]) == pytest.approx(np.log(8), abs=0.1)
    assert (row["of_trials"], np.isnan(row["median_low"])) == (4, True)


def test_cell_of_enough_trials_has_an_interval_of_its_median() -> None:
    """That of the sign test: of twelve the third and the tenth."""
    size, kind, seed = (axis.ravel() for axis in np.meshgrid([1, 2], [0, 1], range(12)))
    seconds = 1 + 9.0 * ((size == 2) & (kind == 1)) + seed / 100
    (row,) = interactions(made_study(["size", "kind"], size=size, kind=kind, seconds_s=seconds)).to_dict("records")
    lowest = row["median"] - 0.055
    assert (row["median_low"], row["median_high"]) == pytest.approx((lowest + 0.02, lowest + 0.09))


def test_share_of_an_interaction_by_hand() -> None:
    """1-2 and 7-8 on one diagonal, 3-6 on the other; see the sums of squares below."""
    study = made_study(
        ["a", "b"],
        "loss",
        a=[0, 0, 0, 0, 1, 1, 1, 1],
        b=[0, 0, 1, 1, 0, 0, 1, 1],
        loss=[1.0, 2.0, 7.0, 8.0, 5.0, 6.0, 3.0, 4.0],
    )
    (row,) = interactions(study).to_dict("records")
    # Total 42; each pair is half of one from its mean, so 2 within and 40 between the cells. By b 3.5 and 5.5: 8; by a
    # nothing. So 32 are left for both. Each cell is 2 away from what its levels make, 3.5 or 5.5.
    assert row["share_of_variance"] == pytest.approx((32 - 0.5) / (42 + 0.5))
    assert row["p_value"] == pytest.approx(stats.f.sf(32 / 0.5, 1, 4))
    assert abs(row["median"] - row["expected"]) == pytest.approx(2)
    assert row["expected"] == pytest.approx(3.5 if row["second_at"] == "0" else 5.5)


def _grid(effect: float, together: float, *, diverged: bool, extreme: bool = False, seed: int) -> Study:
    """Sums of what a size and a rate do, and of what both do together; the cost is their exponential."""
    random = np.random.default_rng(seed)
    size, rate, alpha = (axis.ravel() for axis in np.meshgrid(np.arange(9), np.arange(4), np.arange(3)))
    rmse = 1 - effect * (size + 2 * rate) + random.normal(scale=0.03, size=len(size))
    rmse += together * ((size > 4) & (rate > 0)) + extreme * (random.random(len(size)) < 0.05) * random.exponential(5)
    kept = (size + 2 * rate + 2 * extreme * alpha <= 9 + extreme) | (not diverged)
    chosen = {"size": size[kept], "rate": rate[kept], "alpha": alpha[kept]}
    return made_study(list(chosen), "val_rmse", **chosen, val_rmse=rmse[kept], training_time_s=np.exp(8 * rmse[kept]))


@pytest.mark.parametrize(
    ("effect", "diverged", "extreme"),
    [
        pytest.param(0.03, False, False, id="on the whole grid"),
        pytest.param(0.03, True, False, id="where trials diverged"),
        pytest.param(0, True, True, id="nothing at all, and a few extreme trials"),
    ],
)
def test_effects_that_add_up_are_no_interaction(effect: float, diverged: bool, extreme: bool) -> None:
    """Ranks of sums are no sums of ranks, and where cells are missing sums of squares do not add up either."""
    for seed in range(20):
        assert interactions(_grid(effect, 0, diverged=diverged, extreme=extreme, seed=seed)).empty


@pytest.mark.parametrize("diverged", [False, True], ids=["on the whole grid", "where trials diverged"])
def test_interaction_beside_effects_that_add_up_is_found(diverged: bool) -> None:
    """Of the score and of the cost, between the two that make it, and what each alone makes is the sum or product."""
    for seed in range(5):
        rows = interactions(_grid(0.03, 0.15, diverged=diverged, seed=seed)).to_dict("records")
        assert {row["metric"] for row in rows} == {"val_rmse", "training_time_s"}
        assert {(row["first"], row["second"]) for row in rows} == {("size", "rate")}


@pytest.mark.parametrize(("repeats", "found"), [(1, 0), (2, 1)], ids=["one trial per cell", "two trials per cell"])
def test_interaction_needs_two_trials_per_cell(repeats: int, found: int) -> None:
    """With few trials more than cells chance could make up an interaction like this one, which is a Latin square."""
    a, b = (np.append(np.tile(axis.ravel(), repeats), [0, 1]) for axis in np.meshgrid(range(3), range(3)))
    study = made_study(["a", "b"], a=a, b=b, loss=(a + b) % 3)
    assert len(interactions(study)) == found


def test_interactions_of_chance_are_not_shown() -> None:
    """With 32 cells and 96 trials chance gives many a pair a share above 0.05, and none that is significant."""
    random = np.random.default_rng(0)
    size, rate, alpha = (axis.ravel() for axis in np.meshgrid(np.arange(8), np.arange(4), np.arange(3)))
    noise = {f"noise{place}": random.normal(size=len(size)) for place in range(60)}
    assert interactions(made_study(["size", "rate", "alpha"], size=size, rate=rate, alpha=alpha, **noise)).empty
