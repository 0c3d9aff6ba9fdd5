"""Score against cost: what a worse score saves, and which models are worth a choice."""

from dataclasses import replace
from itertools import permutations

import numpy as np
import pandas as pd
from cases import cases
from frames import study

from entrypoints.reporting.questions.pareto import answer, steps

SECONDS = {8: 8.0, 64: 1.0, 512: 0.1}
SCORES = {8: 0.60, 64: 0.63, 512: 0.66}
COSTS = {"training_time_s": lambda row: SECONDS[row["batch_size"]], "peak_memory_mb": lambda row: 177.0}
EXACT = {"noise": 0.002, "fold_sd": 0.0, "model_sd": 0.002}


def test_front_leads_from_the_cheapest_model_to_the_best_one():
    """A cost that differs by noise alone, as that of the libraries, has none."""
    levels = {"batch_size": list(SECONDS), "learning_rate": [0.1, 0.01]}
    frame = study(levels, COSTS, lambda row: SCORES[row["batch_size"]] + row["learning_rate"] / 10, **EXACT)
    table = answer(frame).table
    assert table["cost"].unique().tolist() == ["training_time_s"]
    assert table["batch_size"].tolist() == [512, 64, 8]


@cases(
    "trials, higher, names",
    {
        "exact": ([(1, 50.0), (2, 40.0), (3, 40.0), (2, 30.0)], False, "ad"),
        "as good and cheaper": ([(100, 5.0), (50, 5.9)], False, "b"),
        "worse and hardly cheaper": ([(100, 5.0), (95, 9.0)], False, "a"),
        "higher is better": ([(100, 9.0), (50, 5.0)], True, "ba"),
        "equal in both": ([(100, 5.0), (99, 5.1), (98, 5.2)], False, "a"),
        "as cheap and better": ([(100, 5.0), (50, 5.9), (52, 5.5)], False, "c"),
        "a chain": ([(100, 5.0), (70, 5.7), (40, 6.4)], False, "cb"),
        "unknown figures": ([(9, 5.0), (np.nan, 1.0), (1, np.nan)], False, "a"),
    },
)
def test_front_of_one_cost(trials, higher, names):
    """Of trials with a cost and a score, from the cheapest on; the order in which they are given does not matter."""
    for order in permutations((name, *figures) for name, figures in zip("abcd", trials, strict=False)):
        metric = "val_accuracy" if higher else "val_rmse"
        frame = study({"alpha": range(len(order))}, {}, metric=metric)
        given = pd.DataFrame(order, columns=["trial_id", "cost", metric], index=frame.trials.index)
        found = steps(replace(frame, trials=frame.trials.assign(**given)), "cost", as_good=1.0, as_cheap=0.1)
        assert "".join(found["trial_id"]) == names
