"""Where two hyperparameters act together, by hand, and what chance may not make of them."""

from __future__ import annotations

import numpy as np
import pytest
from made_studies import made_study, memory_and_time
from scipy import stats

from entrypoints.reporting.hyperparameters.interactions import interactions

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


def test_share_of_an_interaction_by_hand() -> None:
    """Ranks 1-2 and 7-8 on one diagonal, 3-6 on the other; see the sums of squares below."""
    study = made_study(
        ["a", "b"],
        a=[0, 0, 0, 0, 1, 1, 1, 1],
        b=[0, 0, 1, 1, 0, 0, 1, 1],
        loss=[1.0, 2.0, 7.0, 8.0, 5.0, 6.0, 3.0, 4.0],
    )
    (row,) = interactions(study).to_dict("records")
    # Total 42; each pair is half a rank from its mean, so 2 within and 40 between the cells. By b 4 4 and 5 5: 8; by
    # a nothing. Omega squared of the cells: (40 - 3 / 2) / (42 + 1 / 2); of b: (8 - 34 / 6) / (42 + 34 / 6).
    assert row["share_of_variance"] == pytest.approx(38.5 / 42.5 - (8 - 34 / 6) / (42 + 34 / 6))
    assert row["p_value"] == pytest.approx(stats.f.sf(32 / 0.5, 1, 4))


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
