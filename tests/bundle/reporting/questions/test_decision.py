"""The model to take: the best within the limits, one as good and cheaper, and what the next better one would break.

What is said of them is in the golden pages of test_pages.
"""

import math
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from cases import cases, tables
from frames import study, together
from scipy.linalg import hadamard

from entrypoints.reporting.questions.decision import answer, decide
from entrypoints.reporting.verdicts import judged

TABLES = tables(__file__, "decision.yaml")
TRIALS = TABLES["trials"]
FOLDS = 16
TIME = "training_time_s"
WARNED = re.compile("Do not use|does not beat")


def made(trials=TRIALS, limits=None, error=0.006, noise=0.04, degrees=FOLDS - 1, cost=TIME, **of_study):
    """A study of trials by name, whose scores have this error, and one of whose costs has this noise."""
    patterns = dict(zip(trials, hadamard(FOLDS)[1:], strict=False))
    spread = error / math.sqrt(2 * FOLDS / (FOLDS - 1) * (1 / FOLDS + 1 / (FOLDS - 1)))
    frame = study(
        {"size": list(trials)},
        {TIME: lambda row: trials[row["size"]][1], "peak_memory_mb": lambda row: trials[row["size"]][2]},
        lambda row: trials[row["size"]][0] + spread * patterns[row["size"]],
        noise=0.0,
        fold_sd=0.0,
        model_sd=0.0,
        folds=FOLDS,
        name=limits or "full",
        of_study={"limits": limits} | of_study,
    )
    last = frame.trials[frame.trials["size"] == list(trials)[-1]].iloc[0]
    of_folds = np.where(frame.folds["fold"] % 2, 1.0, -1.0)
    is_known = (frame.folds["trial_id"] == last["trial_id"]) & (frame.folds["fold"] <= degrees)
    frame.folds[cost] = np.where(is_known, last[cost] * np.exp(noise * of_folds), np.nan)
    return frame


def exact(**changes):
    """A study in which no noise is known."""
    return made(error=0.0, degrees=0, **changes)


def names(frame):
    """The chosen, the cheaper and the better trial."""
    decision = decide(frame)
    found = (decision.best, decision.cheapest, decision.better)
    return [None if trial is None else trial["size"] for trial in found]


@cases("limits, expected", TABLES["limits"])
def test_best_within_the_limits_is_chosen(limits, expected):
    """Of a full study, with the limits of another one."""
    assert names(together(made(), made(limits=limits))) == expected


@cases("score, size", {"lower": (0.7, 1), "equal": (0.8, 2)})
def test_cheaper_one_with_a_lower_score_is_no_better_where_higher_is(score, size):
    """Nor as good; of equal ones it is taken."""
    scores = {1: 0.8, 2: score}
    costs = {TIME: lambda row: 8 / row["size"]}
    same = {"fold_sd": 0.0, "model_sd": 0.0}
    frame = study({"size": [1, 2]}, costs, lambda row: scores[row["size"]], metric="val_accuracy", **same)
    assert names(frame) == [size, None, None]


@cases("trials, expected", TABLES["cheaper"])
def test_cheaper_one_is_as_good_and_cheaper_beyond_noise(trials, expected):
    """Which of several that are as cheap is the very cheapest is chance."""
    assert names(made(trials)) == [*expected, None]


@cases("noise, cheaper", [(0.1, None), (0.01, "b")])
def test_memory_near_0_is_compared_in_mb(noise, cheaper):
    """Its noise, of 0.4 or 0.04 MB here, is no smaller where a model takes next to nothing."""
    trials = {"a": (0.6, 1.0, 0.63), "b": (0.605, 1.0, 0.0), "c": (0.7, 1.0, 12.0)}
    frames = [made(trials, limits, noise=noise, cost="peak_memory_mb") for limits in (None, "peak_memory_mb<=100")]
    assert names(together(*frames)) == ["a", cheaper, None]


@cases("choose, size", [("best", "b"), ("cheapest", "c")])
def test_cheapest_that_is_as_good_is_taken_by_a_study_that_asks_for_it(choose, size):
    """Else it stands beside the best."""
    found = decide(together(made(), made(limits="training_time_s<=3", choose=choose)))
    assert (found.chosen["size"], found.cheapest["size"]) == (size, "c")


def test_margin_of_as_good_does_not_grow_with_the_number_of_trials():
    """Half of 1000 trials are cheap, and truly worse by two standard errors of a difference."""
    model_sd = 0.01
    error = model_sd * math.sqrt(2 * (1 / 10 + 1 / 9))
    frame = study(
        {"batch_size": [8, 512], "alpha": range(500)},
        score=lambda row: 0.6 + 2 * error * (row["batch_size"] == 512),
        model_sd=model_sd,
    )
    found = decide(frame)
    assert found.noise.error() == pytest.approx(error, rel=0.3)
    assert set(found.equal["batch_size"]) == {8}


@cases("trials, chosen", TABLES["ties"])
def test_scores_that_are_equal_to_ten_digits_of_their_own_are_ties(trials, chosen):
    """Also where noise is not known."""
    assert names(exact(trials=trials)) == [chosen, None, None]


@cases(
    "seconds, degrees, expected",
    {
        "by chance": (0.85, 15, None),
        "beyond it": (0.8, 15, "z"),
        "by little that is known": (0.8, 2, None),
        "by a first fit that warmed up": (0.05, 0, None),
    },
)
def test_cheapest_of_many_equal_trials_is_not_called_cheaper(seconds, degrees, expected):
    """With a noise of 4 % the cheapest of nine is 1.2 times cheaper than the first, or more, in 1 % of cases."""
    trials = {"a": (0.60, 1.0, 90.0), **dict.fromkeys("bcdefghi", (0.601, 1.0, 90.0)), "z": (0.601, seconds, 90.0)}
    assert names(made(trials, degrees=degrees)) == ["a", expected, None]


def test_trial_that_did_not_come_to_its_end_is_not_judged_by_what_it_cost_until_then():
    """Of a full study, which a person or the time limit may have ended: its cost would have risen."""
    full = exact()
    full.trials.loc[full.trials["size"] == "d", ["status", "stopped_by"]] = ["KILLED", "person"]
    verdicts = judged(together(full, exact(limits="training_time_s<=3")))["verdict"]
    by_size = dict(zip(full.trials["size"], verdicts, strict=True))
    assert by_size == {"a": "breaks", "e": "breaks", "b": "meets", "c": "meets", "d": "unknown"}


@cases("limits, unknown, verdicts", TABLES["unknown"])
def test_trial_that_a_limit_cannot_judge_is_not_said_to_meet_it(limits, unknown, verdicts):
    """Since it lacks the figure, or since too few trials ended; one that breaks another limit breaks them."""
    found = judged(together(exact(), exact(limits=limits)))
    assert found["verdict"].astype(str).value_counts().to_dict() == verdicts
    assert set(found["unknown"]) == {unknown}


def test_trials_that_a_study_under_limits_has_judged_keep_its_verdict():
    """What its relative limits came to is known to it alone."""
    frame = exact(limits="training_time_s<=1.5x median")
    frame.trials["feasible"] = frame.trials["size"].isin(["c", "e"])
    assert names(frame)[0] == "e"


def test_limits_on_served_models_are_judged_by_those_that_a_study_has_served():
    """Each has served only its finalists: the best, and under limits those after it until one met them."""
    full, limited = exact(), exact(limits="served_memory_mb<=200")
    for frame, served in ((full, {"a": 230.0}), (limited, {"a": 229.0, "e": 210.0, "b": 190.0})):
        frame.trials["served_memory_mb"] = frame.trials["size"].map(served)
    assert names(together(full, limited))[0] == "b"


def test_model_that_any_of_the_studies_has_logged_is_the_one_to_load():
    """By its configuration; a study without limits would have taken another one."""
    limited = made(limits="training_time_s<=3")
    limited.trials["run_id"] = "limited " + limited.trials["run_id"]
    best = limited.trials["run_id"][limited.trials["size"] == "b"].iloc[0]
    limited.studies[["model", "model_run_id"]] = ["models:/m-1", best]
    table = answer(together(made(), limited)).table.set_index("size")
    assert table.loc["b", "model"] == "models:/m-1"
    assert table.loc["e", "breaks"] == "training_time_s 4 > 3"


@cases("baseline, gain, low, high, said", TABLES["baseline on the test part"])
def test_test_part_tells_whether_the_baseline_is_beaten(baseline, gain, low, high, said):
    """Where it does not, the folds, on which the model has 0.6. It chose nothing, and both models have its rows."""
    of_gain = {"gain_over_baseline": gain, "gain_over_baseline_low": low, "gain_over_baseline_high": high}
    of_study = {"baseline": [baseline] * 10, "model": "models:/m-0"} | of_gain
    frame = study({"size": [1, 2, 3]}, score=lambda row: 0.6, of_study=of_study)
    frame.studies["model_run_id"] = frame.complete["run_id"].iloc[0]
    assert WARNED.findall(" ".join(answer(frame).sentences)) == said


@cases("metric, best, baseline, said", TABLES["baseline"])
def test_no_model_that_beats_the_baseline_by_noise_alone_is_called_better(metric, best, baseline, said):
    """The folds decide."""
    frame = study({"size": [1, 2, 3]}, score=lambda row: best, metric=metric, of_study={"baseline": [baseline] * 10})
    assert WARNED.findall(" ".join(answer(frame).sentences)) == said


@cases("worse_by, disagree, first", TABLES["forest"])
def test_first_is_said_that_the_search_has_not_beaten_a_forest(worse_by, disagree, first):
    """It is not the model to take."""
    frame = made()
    forest = frame.trials[frame.trials["size"] == "a"]
    folds = frame.folds[frame.folds["trial_id"].isin(forest["trial_id"])].assign(trial_id="forest")
    folds["val_rmse"] += worse_by + np.tile([disagree, -disagree], FOLDS // 2)
    about = {"trial_id": "forest", "name": "reference: forest with its defaults", "role": "reference"}
    beside = replace(frame, references=forest.assign(**about), folds=pd.concat([frame.folds, folds]))
    assert answer(beside).sentences[0].startswith(first)
    assert names(beside)[0] == "a"
