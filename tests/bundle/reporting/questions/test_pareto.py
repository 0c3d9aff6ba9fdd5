"""Score against cost: what a worse score saves, and which models are worth a choice."""

from __future__ import annotations

import io

from made_up_frames import study

from entrypoints.reporting.questions.pareto import answer, front

SECONDS = {8: 8.0, 64: 1.0, 512: 0.1}
SCORES = {8: 0.60, 64: 0.63, 512: 0.66}
COSTS = {"training_time_s": lambda row: SECONDS[row["batch_size"]], "peak_memory_mb": lambda row: 177.0}
EXACT = {"noise": 0.002, "fold_sd": 0.0, "model_sd": 0.002}


def test_front_leads_from_the_cheapest_model_to_the_best_one() -> None:
    """A cost that differs by noise alone, as that of the libraries, has none; the title of the figure is the answer."""
    levels = {"batch_size": list(SECONDS), "learning_rate": [0.1, 0.01]}
    frame = study(levels, COSTS, lambda row: SCORES[row["batch_size"]] + row["learning_rate"] / 10, **EXACT)  # type: ignore[arg-type]
    found = answer(frame)
    assert found.table["cost"].unique().tolist() == ["training_time_s"]
    assert found.table["batch_size"].tolist() == [512, 64, 8]
    (sentence,) = found.sentences
    assert sentence.startswith("From val_rmse 0.60")
    assert sentence.endswith("3 models are worth a choice.")
    assert found.draw is not None
    figure = found.draw()
    assert figure.get_suptitle().replace("\n", " ") == sentence.replace("`", "")
    figure.savefig(io.BytesIO())


def test_score_that_costs_nothing_has_one_model_at_each_cost() -> None:
    """The best is the cheapest."""
    frame = study({"batch_size": list(SECONDS)}, COSTS, lambda row: 1 - SCORES[row["batch_size"]], **EXACT)  # type: ignore[arg-type]
    assert answer(frame).sentences == (
        "A worse val_rmse saves nothing: for each cost the best model is, within noise, also the cheapest.",
    )


def test_margins_widen_what_counts_as_equal() -> None:
    """Models no worse than by the margin of the score are as good; without margins each better score is a step."""
    frame = study({"batch_size": list(SECONDS)}, COSTS, lambda row: SCORES[row["batch_size"]], **EXACT)  # type: ignore[arg-type]
    times = front(frame, {})["cost"].eq("training_time_s").sum()
    assert (times, len(front(frame, {"val_rmse": 0.1, "training_time_s": 0.1, "peak_memory_mb": 0.05}))) == (3, 1)
