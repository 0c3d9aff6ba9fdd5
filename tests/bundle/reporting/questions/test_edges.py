"""Whether the best trial lies at an end of what was tried, and what to try next."""

from cases import cases, tables
from frames import study

from entrypoints.reporting.questions.decision import Decision, decide
from entrypoints.reporting.questions.edges import sentences
from entrypoints.reporting.verdicts import judged
from entrypoints.statistics import FoldNoise


def _said(name, values, margin=0.5, search="grid", metric="val_rmse"):
    """What is said of a study of these values, whose scores get worse by 1 from one to the next."""
    worse = -1.0 if metric == "val_accuracy" else 1.0
    frame = study(
        {name: values},
        score=lambda row: worse * values.index(row[name]),
        metric=metric,
        fold_sd=0.0,
        model_sd=0.0,
        of_study={"search": search},
    )
    noise = FoldNoise(1.0, 10, 2)
    noise = FoldNoise(margin / noise.least_difference, 10, 2)
    return list(sentences(frame, Decision(judged(frame), frame.complete.iloc[0], noise=noise)))


@cases("name, values, says", tables(__file__, "edges.yaml"))
def test_end_of_what_was_tried_is_named_where_it_is_the_best(name, values, says):
    """If something lies beyond."""
    assert _said(name, values) == ([f"The best {name}, {says} ones as well."] if says else [])


@cases("how", {"no better beyond noise": {"margin": 1.5}, "not listed": {"search": "tpe"}})
def test_end_that_is_no_reason_to_look_further_is_not_named(how):
    """That of a search which draws values is chance."""
    assert _said("alpha", [0.1, 0.01], **how) == []


@cases("others", {"better": 0.6, "worse": 0.8})
def test_end_that_the_limits_have_made_the_best_is_not_named(others):
    """What lies inside costs too much, so that nothing is known of where to go."""
    frame = study(
        {"trees": [50, 100, 200]},
        score=lambda row: 0.7 if row["trees"] == 50 else others,
        of_study={"limits": "training_time_s<=0.6"},
    )
    frame.trials["feasible"] = frame.trials["trees"] == 50
    assert list(sentences(frame, decide(frame))) == []


def test_higher_score_is_better_where_it_is():
    """As of an accuracy."""
    (sentence,) = _said("alpha", [0.1, 1.0], metric="val_accuracy")
    assert sentence.startswith("The best alpha, 0.1, is the smallest ")
