"""Whether the best trial lies at an end of what was tried, and what to try next."""

from cases import cases
from frames import study

from entrypoints.reporting.questions.decision import Decision, decide
from entrypoints.reporting.questions.edges import sentences
from entrypoints.reporting.questions.effects import ScoreNoise
from entrypoints.reporting.verdicts import judged


def _decision(frame, margin):
    noise = ScoreNoise(error=margin / 2, degrees=9, least_difference=margin)
    return Decision(judged(frame), frame.complete.iloc[0], noise=noise)


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
    return list(sentences(frame, _decision(frame, margin)))


@cases(
    "name, values, said",
    {
        "largest": ("alpha", [0.01, 0.0001, 0.001], "0.01, is the largest that was tried: try larger"),
        "smallest": ("learning_rate", [0.05, 0.1], "0.05, is the smallest that was tried: try smaller"),
        "inside": ("alpha", [0.1, 0.01, 1.0], None),
        "zero": ("alpha", [0.0, 0.1, 0.2], None),
        "tol": ("tol", [0.2, 0.1, 0.3], None),
        "words": ("solver", ["adam", "sgd"], None),
        "largest batch": ("batch_size", [64, 32], "64, is the largest that was tried: try larger"),
        "batches of all sizes": ("batch_size", [8, 4, 2], None),
        "one, by factors": ("C", [1, 0.1, 0.01], "1, is the largest that was tried: try larger"),
        "one, of shares": ("subsample", [1.0, 0.8, 0.6], None),
    },
)
def test_end_of_what_was_tried_is_named_where_it_is_the_best(name, values, said):
    """If something lies beyond."""
    assert _said(name, values) == ([] if said is None else [f"The best {name}, {said} ones as well."])


def test_nothing_is_said_of_an_end_that_is_not_better_beyond_noise_or_was_not_listed():
    """Neither is a reason to look further."""
    assert _said("alpha", [0.1, 0.01], margin=1.5) == []
    assert _said("alpha", [0.1, 0.01], search="tpe") == []


def test_end_that_the_limits_have_made_the_best_is_not_named():
    """What lies inside is better, but costs too much; smaller models would be worse."""
    frame = study(
        {"trees": [50, 100, 200]},
        {"training_time_s": lambda row: row["trees"] / 100},
        lambda row: 0.7 if row["trees"] == 50 else 0.6,
        of_study={"limits": "training_time_s<=0.6"},
        about={"feasible": True},
    )
    frame.trials["feasible"] = frame.trials["trees"] == 50
    assert list(sentences(frame, decide(frame))) == []


def test_higher_score_is_better_where_it_is():
    (said,) = _said("alpha", [0.1, 1.0], metric="val_accuracy")
    assert said.startswith("The best alpha, 0.1, is the smallest ")
