"""The model to take: the best within the limits, one as good and cheaper, and what the next better one would break."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from made_up_frames import study, together
from scipy.linalg import hadamard

from entrypoints.reporting.questions.decision import answer, decide
from entrypoints.reporting.verdicts import judged

Trials = Mapping[str, tuple[float, float, float]]
Noise = Any  # the error of a score, or the share and the degrees of freedom of a cost's noise
FOLDS = 16
# A score, a training time and a memory each; two scores differ by chance up to 0.016, and are as good up to 0.006.
TRIALS = {
    "a": (0.59, 8.0, 90.0),
    "e": (0.61, 4.0, 90.0),
    "b": (0.63, 2.0, 90.0),
    "c": (0.635, 0.5, 90.0),
    "d": (0.7, 0.1, 300.0),
}
NOISE = {"val_rmse": 0.006, "training_time_s": (0.04, 50)}


def made(trials=TRIALS, limits=None, noise=NOISE, **about):
    """A study of trials by name, whose scores have this error; one of them ran again to show the noise of costs."""
    costs = {
        "training_time_s": lambda row: trials[row["size"]][1],
        "peak_memory_mb": lambda row: trials[row["size"]][2],
    }
    patterns = dict(zip(trials, hadamard(FOLDS)[1:], strict=False))
    spread = noise.get("val_rmse", 0.0) / math.sqrt(2 * FOLDS / (FOLDS - 1) * (1 / FOLDS + 1 / (FOLDS - 1)))
    exact = {"noise": 0.0, "fold_sd": 0.0, "model_sd": 0.0, "folds": FOLDS}
    limits = {"of_study": {"limits": limits}, "name": "early_stop"} if limits else {}
    frame = study(
        {"size": list(trials)},
        costs,
        lambda row: trials[row["size"]][0] + spread * patterns[row["size"]],
        **exact,  # type: ignore[arg-type]
        **limits,
        about=about,
    )
    for cost, known in noise.items():
        if cost != "val_rmse":
            frame = run_again(frame, list(trials)[-1], cost, *known)
    return frame


def run_again(frame, name, cost, share, degrees):
    """With repetitions of the trial of this name, which show that a cost has this noise."""
    last = frame.trials[frame.trials["size"] == name].iloc[0]
    again = pd.DataFrame([last] * degrees).reset_index(drop=True)
    again["repeat"] = again.index + 1
    again["trial_id"] = [f"{cost}_{number}" for number in again.index]
    again[cost] = last[cost] * np.exp(share * np.where(again.index % 2, 1.0, -1.0))
    return replace(frame, trials=pd.concat([frame.trials, again], ignore_index=True))


def decided(trials=TRIALS, limits=None, noise=NOISE):
    """The decision about a full study, with the limits of another one."""
    return decide(together(made(trials, noise=noise), *([made(trials, limits)] if limits else [])))


def names(decision):
    """The chosen, the cheaper and the better trial."""
    cheaper = None if decision.takes_cheapest else decision.cheapest
    found = (decision.chosen, cheaper, decision.better)
    return tuple(None if each is None else each["size"] for each in found)


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        pytest.param(None, ("a", None, None), id="no limits, none as good"),
        pytest.param("training_time_s<=3", ("b", "c", "e"), id="one as good and cheaper"),
        pytest.param("training_time_s<=1", ("c", None, "e"), id="a better one is so beyond noise"),
        pytest.param("training_time_s<=1.5x median", ("b", "c", "e"), id="of the median"),
        pytest.param("peak_memory_mb>=100", ("d", None, "a"), id="a lower limit"),
        pytest.param("cpu_seconds<=5, training_time_s<=3", ("b", "c", "e"), id="one of two measured"),
        pytest.param("training_time_s<=1.5x median after 6", ("a", None, None), id="of too few trials"),
    ],
)
def test_best_within_the_limits_is_chosen(limits, expected):
    """`b` and `c` differ by less than noise; the median of the times is 2 s; `e` breaks limits less than `a`."""
    assert names(decided(limits=limits)) == expected


def test_cheaper_one_with_a_lower_score_is_no_better_where_higher_is():
    """Nor as good."""
    costs = {"training_time_s": lambda row: 8 / row["size"]}
    exact = {"noise": 0.0, "fold_sd": 0.0, "model_sd": 0.0}
    frame = study({"size": [1, 2]}, costs, lambda row: 0.9 - row["size"] / 10, metric="val_accuracy", **exact)  # type: ignore[arg-type]
    assert names(decide(frame)) == (1, None, None)


@pytest.mark.parametrize(
    ("trials", "expected"),
    [
        pytest.param(
            {"a": (0.6, 1.0, 90.0), "b": (0.6, 0.9, 90.0)}, ("b", None, None), id="of equal scores the cheapest"
        ),
        pytest.param({"a": (0.6, 1.0, 90.0), "b": (0.605, 0.92, 90.0)}, ("a", None, None), id="cheaper by noise"),
        pytest.param({"a": (0.6, 1.0, 90.0), "b": (0.612, 0.1, 90.0)}, ("a", None, None), id="worse beyond noise"),
        pytest.param(
            {"a": (0.6, 1.0, 90.0), "b": (0.605, 0.5, 90.0), "c": (0.603, 0.51, 90.0), "d": (0.602, 0.75, 90.0)},
            ("a", "c", None),
            id="the best of those that are as cheap",
        ),
    ],
)
def test_cheaper_one_is_as_good_and_cheaper_beyond_noise(trials, expected):
    """Which of several that are as cheap is the very cheapest is chance."""
    assert names(decided(trials)) == expected


@pytest.mark.parametrize(("share", "cheaper"), [(0.1, None), (0.01, "b")])
def test_memory_near_0_is_compared_in_mb(share, cheaper):
    """Its noise, of 0.4 or 0.04 MB here, is no smaller where a model takes next to nothing."""
    trials = {"a": (0.6, 1.0, 0.63), "b": (0.605, 1.0, 0.0), "c": (0.7, 1.0, 12.0)}
    assert names(decided(trials, "peak_memory_mb<=100", NOISE | {"peak_memory_mb": (share, 50)}))[1] == cheaper


def priced(choose="best", seconds=None, **changes):
    """Eight trials of two batch sizes, of which one is a little better and the other cheaper."""
    times = seconds or {8: 0.4, 512: 0.008}
    costs = {"training_time_s": lambda row: times[row["batch_size"]]}
    levels = {"batch_size": list(times), "alpha": [1, 2, 3, 4]}
    return study(
        changes.pop("levels", levels),
        costs,
        lambda row: 0.6 + row["batch_size"] / 1e6 + 0.01 * hadamard(FOLDS)[1 + (row["batch_size"] == 8)],
        same_model=["alpha"],
        folds=FOLDS,
        model_sd=0.0,
        of_study={"choose": choose, "algorithm": "linear", **changes},
        noise=0.01,
    )


@pytest.mark.parametrize(("choose", "size"), [("best", 8), ("cheapest", 512)])
def test_cheapest_that_is_as_good_is_taken_by_a_study_that_asks_for_it(choose, size):
    """Else it stands beside the best."""
    found = decide(priced(choose))
    assert found.chosen is not None
    assert found.cheapest is not None
    assert (found.chosen["batch_size"], found.cheapest["batch_size"]) == (size, 512)


@pytest.mark.parametrize("trials", [10, 1000])
@pytest.mark.parametrize("worse", [1.0, 2.0])
def test_margin_of_as_good_does_not_grow_with_the_number_of_trials(trials, worse):
    """Half of the trials are cheap, and truly worse by one or two standard errors of a difference."""
    model_sd = 0.01
    error = model_sd * math.sqrt(2 * (1 / 10 + 1 / 9))
    frame = study(
        {"batch_size": [8, 512], "alpha": [*range(trials // 2)]},
        {"training_time_s": lambda row: 800.0 / row["batch_size"]},
        lambda row: 0.6 + worse * error * (row["batch_size"] == 512),
        model_sd=model_sd,
        of_study={"choose": "cheapest", "algorithm": "linear"},
    )
    found = decide(frame)
    assert found.noise.error == pytest.approx(error, rel=0.3)
    if worse == 2:
        assert set(found.equal["batch_size"]) == {8}


@pytest.mark.parametrize(
    ("levels", "seconds"),
    [
        pytest.param({"size": [8, 512]}, {8: 0.1, 512: 0.95}, id="noise unknown"),
        pytest.param(None, {8: 0.02, 512: 0.0006}, id="milliseconds"),
    ],
)
def test_short_fits_are_not_called_cheaper(levels, seconds):
    """Of two in fresh processes the first one warms up, and nothing says how much equal ones differ."""
    levels = {"levels": {"batch_size": [8, 512]}} if levels else {}
    assert decide(priced(seconds=seconds, **levels)).cheapest is None


@pytest.mark.parametrize(("percent", "said"), [(18.5, "18 % of the rows are exact copies"), (0.5, "")])
def test_many_exact_copies_of_rows_are_named(percent, said):
    """A model that memorises looks better by them."""
    found = [each for each in answer(priced(duplicate_rows_percent=percent)).sentences if "exact copies" in each]
    assert [each.startswith(said) for each in found] == ([True] if said else [])


@pytest.mark.parametrize(
    ("scores", "chosen"),
    [
        pytest.param((0.7, 0.6, 1e14), "b", id="one that exploded makes no ties"),
        pytest.param((0.7, 0.7 - 1e-13), "a", id="rounding makes none better"),
    ],
)
def test_scores_that_are_equal_to_ten_digits_of_their_own_are_ties(scores, chosen):
    """Also where noise is not known."""
    trials = {name: (score, place, 90.0) for place, (name, score) in enumerate(zip("abc", scores, strict=False), 1)}
    assert names(decided(trials, noise={})) == (chosen, None, None)


@pytest.mark.parametrize(("seconds", "degrees", "expected"), [(0.85, 50, None), (0.8, 50, "c"), (0.8, 2, None)])
def test_cheapest_of_many_equal_trials_is_not_called_cheaper(seconds, degrees, expected):
    """With a noise of 4 % the cheapest of nine is 1.2 times cheaper than the first, or more, in 1 % of cases."""
    trials = {"a": (0.60, 1.0, 90.0), **{f"b{each}": (0.601, 1.0, 90.0) for each in range(8)}}
    noise = NOISE | {"training_time_s": (0.04, degrees)}
    assert names(decided(trials | {"c": (0.601, seconds, 90.0)}, noise=noise))[1] == expected


def test_trial_that_did_not_come_to_its_end_is_not_judged_by_what_it_cost_until_then():
    """Of a full study, which a person or the time limit may have ended: its cost would have risen."""
    full = made()
    full.trials.loc[full.trials["size"] == "d", ["status", "stopped_by"]] = ["KILLED", "person"]
    found = judged(together(full, made(limits="training_time_s<=3")))["verdict"]
    by_size = dict(zip(full.trials["size"], found, strict=True))
    assert by_size == {"a": "breaks", "e": "breaks", "b": "meets", "c": "meets", "d": "unknown"}


@pytest.mark.parametrize(
    ("limits", "unknown", "verdicts"),
    [
        pytest.param("cpu_seconds<=5, training_time_s<=3", "cpu_seconds<=5", {"breaks": 2, "unknown": 3}, id="figure"),
        pytest.param("training_time_s<=1.5x median after 6", None, {"unknown": 5}, id="too few trials"),
    ],
)
def test_trial_that_a_limit_cannot_judge_is_not_said_to_meet_it(limits, unknown, verdicts):
    """Since it lacks the figure, or since too few trials ended; one that breaks another limit breaks them."""
    found = judged(together(made(noise={}), made(limits=limits, noise={})))
    assert found["verdict"].astype(str).value_counts().to_dict() == verdicts
    assert set(found["unknown"]) == {unknown or limits}


def test_nearest_is_named_where_no_trial_meets_the_limits():
    """Nothing is chosen instead."""
    found = answer(made(limits="training_time_s<=0.01", noise={}))
    assert found.sentences == ()
    assert "the nearest, size=d, has training_time_s 0.1 > 0.01" in found.open_question
    assert "or limit model_memory_mb" in answer(made(limits="peak_memory_mb<=10")).open_question


EXPECTED = {"expected": 0.664, "expected_low": 0.61, "expected_high": 0.71, "left_out": 0.608}


def test_trials_that_a_study_under_limits_has_judged_keep_its_verdict():
    """What its relative limits came to is known to it alone."""
    frame = made(limits="training_time_s<=1.5x median", noise={})
    frame = replace(frame, trials=frame.trials.assign(feasible=frame.trials["size"].isin(["c", "e"])))
    assert names(decide(frame))[0] == "e"


def test_limits_on_served_models_are_judged_by_those_that_a_study_has_served():
    """Each has served only its finalists: the best, and under limits those after it until one met them."""
    full, limited = made(noise={}), made(limits="served_memory_mb<=200", noise={})
    for frame, served in ((full, {"a": 230.0}), (limited, {"a": 229.0, "e": 210.0, "b": 190.0})):
        frame.trials["served_memory_mb"] = frame.trials["size"].map(served)
        frame.trials["served_cpu_ms"] = frame.trials["served_memory_mb"] / 40
    frame = together(full, limited)
    assert names(decide(frame))[0] == "b"
    take, served, *_ = answer(frame).sentences
    assert "within the limits of those that were served (3)" in take
    assert "takes 190 MB and 4.8 ms of CPU a row; the machine was too busy to time its answers" in served


def test_model_that_any_of_the_studies_has_logged_is_the_one_to_load():
    """By its configuration; a study without limits would have taken another one."""
    limited = made(limits="training_time_s<=3")
    run_id = limited.trials.loc[limited.trials["size"] == "b", "run_id"].iloc[0]
    limited.trials["run_id"] = limited.trials["run_id"].str.replace("run", "limited")
    limited.studies[["model", "model_run_id"]] = ["models:/m-1", run_id.replace("run", "limited")]
    found = answer(together(made(), limited))
    assert '**Load it** with `mlflow.pyfunc.load_model("models:/m-1")`.' in found.sentences
    better = found.table.iloc[-1]
    assert (better["size"], better["breaks"]) == ("e", "training_time_s 4 > 3")


@pytest.mark.parametrize(("low", "high", "beaten"), [(0.5, 0.59, True), (0.5, 0.61, False), (0.62, 0.7, False)])
def test_baseline_is_beaten_where_the_test_part_shows_it(low, high, beaten):
    """Few folds tell little; the test part chose nothing."""
    frame = study({"size": [1, 2, 3]}, score=lambda row: 0.6, of_study={"baseline": [0.601] * 10})
    best = frame.complete.iloc[0]["run_id"]
    frame.studies[["model", "model_run_id", "test", "test_low", "test_high"]] = ["models:/m-0", best, low, low, high]
    assert decide(frame).beats_baseline is beaten


@pytest.mark.parametrize(("metric", "best", "baseline", "beaten"), [
    pytest.param("val_rmse", 0.6, 0.8, True, id="beaten"),
    pytest.param("val_rmse", 0.6, 0.601, False, id="by less than noise"),
    pytest.param("val_accuracy", 0.7, 0.8, False, id="better than all"),
    pytest.param("val_accuracy", 0.9, 0.8, True, id="beaten, higher is better"),
])  # fmt: skip
def test_no_model_that_beats_the_baseline_by_noise_alone_is_called_better(metric, best, baseline, beaten):
    """The folds decide; accuracy that is no better may hide rare classes."""
    frame = study({"size": [1, 2, 3]}, score=lambda row: best, metric=metric, of_study={"baseline": [baseline] * 10})
    found = answer(frame)
    assert decide(frame).beats_baseline is beaten
    assert found.shown[metric].iloc[-1] == baseline
    assert found.sentences[1].startswith("**No model beats the baseline**") is not beaten
    hides = any("try metric=balanced_accuracy" in sentence for sentence in found.sentences)
    assert hides is (metric == "val_accuracy" and not beaten)


def test_leak_that_the_study_has_named_is_named_again():
    """Among the warnings."""
    leak = "late predicts paid alone: is it known when you predict? -P drop=late"
    assert f"**A leak?** {leak}" in answer(priced(leak=leak)).sentences


@pytest.mark.parametrize(
    ("known", "says"),
    [
        pytest.param({"test": 0.66, "test_low": 0.61, "test_high": 0.71}, "0.66 (0.61 to 0.71)", id="interval"),
        pytest.param({"test": 0.6365, "no_interval": "it takes 3 folds"}, "it takes 3 folds", id="no interval"),
    ],
)
def test_first_sentence_says_what_the_logged_model_reaches_on_the_test_part(known, says):
    """Its validation score, 0.6 here, is that of the best of many."""
    frame = made({"a": (0.6, 8.0, 90.0), "b": (0.7, 8.0, 90.0)})
    run_id = frame.trials.loc[frame.trials["size"] == "a", "run_id"].iloc[0]
    about = {"model": "models:/m-1", "model_run_id": run_id, **known}
    found = answer(replace(frame, studies=frame.studies.assign(**about)))
    assert says in found.sentences[0]
    assert "val_rmse" not in found.sentences[0]
    assert found.table["test"].iloc[0] == known["test"]


def _beside_forest(worse_by):
    """The trials, and a forest whose score is worse than the best one's by so much, of the time and memory of b."""
    frame = made()
    forest = frame.trials[frame.trials["size"] == "a"].assign(
        trial_id="forest", name="reference: forest with its defaults", role="reference", training_time_s=2.0
    )
    forest["val_rmse"] += worse_by
    folds = frame.folds[frame.folds["trial_id"] == frame.trials["trial_id"][forest.index[0]]].assign(trial_id="forest")
    folds["val_rmse"] += worse_by + np.tile([0.001, -0.001], FOLDS // 2)
    return replace(frame, references=forest, folds=pd.concat([frame.folds, folds], ignore_index=True))


@pytest.mark.parametrize(
    ("worse_by", "says"),
    [
        pytest.param(-0.1, "**A forest with its defaults is better than what the search found**", id="better"),
        pytest.param(0.002, "**The search has not beaten a forest with its defaults** beyond noise", id="as good"),
    ],
)
def test_first_is_said_that_the_search_has_not_beaten_a_forest(worse_by, says):
    """With what the forest costs; it stands in the table, and is not the model to take."""
    found = answer(_beside_forest(worse_by))
    forest = f"{0.59 + worse_by:.4g}"
    assert found.sentences[:2] == (
        f"{says}: it has `val_rmse` {forest}, the search 0.59.",
        "The forest takes 0.25 times the `training_time_s`.",
    )
    assert found.sentences[2].startswith("**Take size=a")
    assert found.shown.iloc[-1][["", "val_rmse"]].tolist() == ["forest with its defaults", pytest.approx(float(forest))]


def test_forest_is_not_called_better_where_folds_disagree():
    """By less than two standard errors of the paired difference it is not, though by more than one."""
    frame = _beside_forest(-0.01)
    of_forest = frame.folds["trial_id"] == "forest"
    frame.folds.loc[of_forest, "val_rmse"] += np.tile([0.015, -0.015], FOLDS // 2)
    assert "has not beaten a forest" in answer(frame).sentences[0]


def test_forest_on_fewer_rows_is_said_to_be():
    frame = _beside_forest(0.002)
    frame = replace(frame, references=frame.references.assign(fit_rows=1000.0))
    assert "trained on 1000 rows of each fold, the search 0.59" in answer(frame).sentences[0]


def test_forest_that_is_beaten_has_no_sentence():
    assert answer(_beside_forest(0.1)).sentences[0].startswith("**Take size=a")
