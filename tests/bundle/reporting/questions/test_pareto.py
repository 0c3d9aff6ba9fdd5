"""Score against cost: what a worse score saves, and which models are worth a choice."""

from itertools import permutations

import pandas as pd
from cases import cases, tables
from frames import study

from entrypoints.reporting.questions.pareto import answer, steps

SECONDS = {8: 8.0, 64: 1.0, 512: 0.1}
SCORES = {8: 0.60, 64: 0.63, 512: 0.66}


def test_front_leads_from_the_cheapest_model_to_the_best_one():
    """A cost that differs by noise alone, as that of the libraries, has none."""
    frame = study(
        {"batch_size": [*SECONDS], "learning_rate": [0.1, 0.01]},
        {"training_time_s": lambda row: SECONDS[row["batch_size"]], "peak_memory_mb": lambda row: 177.0},
        lambda row: SCORES[row["batch_size"]] + row["learning_rate"] / 10,
        noise=0.002,
        fold_sd=0.0,
        model_sd=0.002,
    )
    table = answer(frame).table
    assert set(table["cost"]) == {"training_time_s"}
    assert table["batch_size"].tolist() == [512, 64, 8]


@cases("trials, higher, names", tables(__file__, "pareto.yaml"))
def test_front_of_one_cost(trials, higher, names):
    """The order in which trials are given does not matter."""
    metric = "val_accuracy" if higher else "val_rmse"
    for order in permutations((name, *figures) for name, figures in zip("abcd", trials, strict=False)):
        frame = study({"alpha": range(len(order))}, metric=metric)
        columns = ["trial_id", "cost", metric]
        frame.trials[columns] = pd.DataFrame(order, columns=columns)
        found = steps(frame, "cost", as_good=1.0, as_cheap=0.1)
        assert "".join(found["trial_id"]) == names
