"""The model to take: the best within the limits, one as good and cheaper, and what the next better one would break."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pandas as pd
import pytest
from made_up_frames import study, together

from entrypoints.frame import Frame
from entrypoints.reporting.questions.decision import Case, Decision, answer, decide
from entrypoints.reporting.verdicts import judged

Trials = Mapping[str, tuple[float, float, float]]
# A score, a training time and a memory each; two scores differ by chance up to 0.01.
TRIALS = {
    "a": (0.59, 8.0, 90.0),
    "e": (0.61, 4.0, 90.0),
    "b": (0.63, 2.0, 90.0),
    "c": (0.635, 0.5, 90.0),
    "d": (0.7, 0.1, 300.0),
}
NOISE = {"val_rmse": (0.0032, 50), "training_time_s": (0.04, 50)}


def made(trials: Trials = TRIALS, limits: str | None = None, **about: Any) -> Frame:
    """A study of trials by name."""
    costs = {
        "training_time_s": lambda row: trials[row["size"]][1],
        "peak_memory_mb": lambda row: trials[row["size"]][2],
    }
    exact = {"noise": 0.0, "fold_sd": 0.0, "model_sd": 0.0}
    limits = {"of_study": {"limits": limits}, "name": "early_stop"} if limits else {}
    return study({"size": list(trials)}, costs, lambda row: trials[row["size"]][0], **exact, **limits, about=about)  # type: ignore[arg-type]


def decided(
    trials: Trials = TRIALS, limits: str | None = None, noise: Mapping[str, tuple[float, float]] = NOISE
) -> Decision:
    """The decision about a full study, with the limits of another one."""
    frame = together(made(trials), *([made(trials, limits)] if limits else []))
    rows = [
        {"metric": metric, "noise": share, "degrees_of_freedom": degrees, "least_significant_difference": 0.01}
        for metric, (share, degrees) in noise.items()
    ]
    return decide(
        frame,
        noise=pd.DataFrame(rows, columns=["metric", "noise", "degrees_of_freedom", "least_significant_difference"]),
    )


def names(decision: Decision) -> tuple[str | None, ...]:
    """The chosen, the cheaper and the better trial."""
    cheaper = decision.cheapest if decision.case is Case.BEST_OR_CHEAPEST else None
    found = (decision.chosen, cheaper, decision.better)
    return tuple(None if each is None else each["size"] for each in found)


def test_limits_on_served_models_are_judged_by_those_that_a_study_has_served() -> None:
    """Each has served only its finalists: the best, and under limits those after it until one met them."""
    full, limited = made(), made(limits="served_memory_mb<=200")
    for frame, served in ((full, {"a": 230.0}), (limited, {"a": 229.0, "e": 210.0, "b": 190.0})):
        frame.trials["served_memory_mb"] = frame.trials["size"].map(served)
        frame.trials["served_cpu_ms"] = frame.trials["served_memory_mb"] / 40
    frame = together(full, limited)
    assert names(decide(frame))[0] == "b"
    take = answer(frame).sentences[0]
    assert "within the limits `served_memory_mb<=200` of those that were served (3)" in take
    assert take.endswith(
        " **As served** the chosen model takes 190 MB and 4.8 ms of CPU a row; the machine was too busy to time its "
        "answers."
    )


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
def test_best_within_the_limits_is_chosen(limits: str | None, expected: tuple[str | None, ...]) -> None:
    """`b` and `c` differ by less than noise; the median of the times is 2 s; `e` breaks limits less than `a`."""
    assert names(decided(limits=limits)) == expected


def test_cheaper_one_with_a_lower_score_is_no_better_where_higher_is() -> None:
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
            {"a": (0.6, 1.0, 90.0), "b": (0.609, 0.5, 90.0), "c": (0.603, 0.51, 90.0), "d": (0.602, 0.75, 90.0)},
            ("a", "c", None),
            id="the best of those that are as cheap",
        ),
    ],
)
def test_cheaper_one_is_as_good_and_cheaper_beyond_noise(trials: Trials, expected: tuple[str | None, ...]) -> None:
    """Which of several that are as cheap is the very cheapest is chance."""
    assert names(decided(trials)) == expected


@pytest.mark.parametrize(("share", "cheaper"), [(0.1, None), (0.01, "b")])
def test_memory_near_0_is_compared_in_mb(share: float, cheaper: str | None) -> None:
    """Its noise, of 0.4 or 0.04 MB here, is no smaller where a model takes next to nothing."""
    trials = {"a": (0.6, 1.0, 0.63), "b": (0.605, 1.0, 0.0), "c": (0.7, 1.0, 12.0)}
    assert names(decided(trials, "peak_memory_mb<=100", NOISE | {"peak_memory_mb": (share, 50)}))[1] == cheaper


def priced(choose: str = "best", seconds: Mapping[int, float] | None = None, **changes: Any) -> Frame:
    """Eight trials of two sizes, of which one is a little better and the other cheaper."""
    times = seconds or {8: 0.4, 512: 0.008}
    costs = {"training_time_s": lambda row: times[row["size"]]}
    levels = {"size": list(times), "alpha": [1, 2, 3, 4]}
    return study(
        changes.pop("levels", levels),
        costs,
        lambda row: 0.6 + row["size"] / 1e6,
        same_model=["alpha"],
        of_study={"choose": choose, **changes},
        noise=0.01,
    )


def test_first_sentence_offers_the_best_and_the_cheapest_that_is_as_good() -> None:
    """With what that saves; a study that chooses the cheapest names the best beside it, with the same figures."""
    best = answer(priced()).sentences[0]
    saved = r"for 2 % of its `training_time_s` \(0\.00\d+ of 0\.\d+ s\)"
    noise = r"as good within noise \(0\.00\d+\)"
    assert re.search(
        r"^\*\*Take size=8, .*, the best of 8 trials: val_rmse 0\.\d+; "
        rf"or \*\*size=512, alpha=\d\*\*, {noise}, {saved} \(`choose=cheapest` takes it\)\.$",
        best,
    )
    cheapest = answer(priced("cheapest")).sentences[0]
    as_the_best = rf"{noise} as the best, size=8, alpha=\d, {saved}"
    assert re.search(rf"^\*\*Take size=512, alpha=\d\*\*: val_rmse 0\.\d+; {as_the_best}, of 8 trials\.$", cheapest)


@pytest.mark.parametrize(
    ("levels", "seconds"),
    [
        pytest.param({"size": [8, 512]}, {8: 0.1, 512: 0.95}, id="noise unknown"),
        pytest.param(None, {8: 0.02, 512: 0.0006}, id="milliseconds"),
    ],
)
def test_short_fits_are_not_called_cheaper(levels: Any, seconds: dict[int, float]) -> None:
    """Of two in fresh processes the first one warms up, and nothing says how much equal ones differ."""
    frame = priced(seconds=seconds, **({"levels": levels} if levels else {}))
    first, *others = answer(frame).sentences
    assert "; or " not in first
    assert (levels is None) == any("none takes less" in each for each in others)


def test_study_with_too_few_equal_trials_does_not_say_that_none_is_cheaper() -> None:
    """By two degrees of freedom the cheapest of eleven others may cost a fraction by chance."""
    frame = priced(seconds={8: 0.02, 512: 0.0006})
    decision = decide(frame)
    assert decision.by_chance < 1
    (said,) = [each for each in answer(frame, replace(decision, by_chance=80.0)).sentences if "as good" in each]
    assert said.endswith("; too few of equal cost were run to tell which takes less `training_time_s`.")


def test_trials_that_break_a_limit_at_their_end_are_named() -> None:
    """Each by the limit that it breaks most; of relative limits the study knows alone what they came to."""
    frame = priced(limits="training_time_s<=0.1")
    frame = replace(frame, trials=frame.trials.assign(feasible=frame.trials["size"] == 512))
    (said,) = (each for each in answer(frame).sentences if " ran to the end but " in each)
    assert re.search(
        r"^4 ran to the end but break `training_time_s<=0\.1`: size=8, alpha=\d \(0\.\d+\), .* and 1 more\.$", said
    )
    relative = replace(frame, studies=frame.studies.assign(limits="training_time_s<=1.5x median"))
    (said,) = (each for each in answer(relative).sentences if " ran to the end but " in each)
    assert said.startswith("4 ran to the end but break `training_time_s<=1.5x median`: size=8, alpha=")


@pytest.mark.parametrize(("percent", "said"), [(18.5, "18 % of the rows are exact copies"), (0.5, "")])
def test_many_exact_copies_of_rows_are_named(percent: float | None, said: str) -> None:
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
def test_scores_that_are_equal_to_ten_digits_of_their_own_are_ties(scores: tuple[float, ...], chosen: str) -> None:
    """Also where noise is not known."""
    trials = {name: (score, place, 90.0) for place, (name, score) in enumerate(zip("abc", scores, strict=False), 1)}
    assert names(decided(trials, noise={})) == (chosen, None, None)


@pytest.mark.parametrize(("seconds", "degrees", "expected"), [(0.85, 50, None), (0.8, 50, "c"), (0.8, 2, None)])
def test_cheapest_of_many_equal_trials_is_not_called_cheaper(
    seconds: float, degrees: float, expected: str | None
) -> None:
    """With a noise of 4 % the cheapest of nine is 1.2 times cheaper than the first, or more, in 1 % of cases."""
    trials = {"a": (0.60, 1.0, 90.0), **{f"b{each}": (0.601, 1.0, 90.0) for each in range(8)}}
    noise = NOISE | {"training_time_s": (0.04, degrees)}
    assert names(decided(trials | {"c": (0.601, seconds, 90.0)}, noise=noise))[1] == expected


def test_trials_that_a_study_under_limits_has_judged_keep_its_verdict() -> None:
    """What its relative limits came to is known to it alone."""
    judged = made(limits="training_time_s<=1.5x median", feasible=[True, True, False, None, True])
    meets = [size in "ce" for size in judged.trials["size"]]
    judged = replace(judged, trials=judged.trials.assign(feasible=meets))
    found = decide(
        judged, noise=pd.DataFrame(columns=["metric", "noise", "degrees_of_freedom", "least_significant_difference"])
    )
    assert found.chosen is not None
    assert (found.chosen["size"], found.least_difference) == ("e", None)


def test_trial_that_did_not_come_to_its_end_is_not_judged_by_what_it_cost_until_then() -> None:
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
def test_trial_that_a_limit_cannot_judge_is_not_said_to_meet_it(
    limits: str, unknown: str | None, verdicts: dict[str, int]
) -> None:
    """Since it lacks the figure, or since too few trials ended; one that breaks another limit breaks them."""
    found = judged(together(made(), made(limits=limits)))
    assert found["verdict"].astype(str).value_counts().to_dict() == verdicts
    assert set(found["unknown"]) == {unknown or limits}


def test_model_that_any_of_the_studies_has_logged_is_the_one_to_load() -> None:
    """By its configuration; a study without limits would have taken another one."""
    limited = made(limits="training_time_s<=3")
    run_id = limited.trials.loc[limited.trials["size"] == "b", "run_id"].item()
    limited.trials["run_id"] = limited.trials["run_id"].str.replace("run", "limited")
    limited.studies[["model", "model_run_id"]] = ["models:/m-1", run_id.replace("run", "limited")]
    sentences = answer(together(made(), limited)).sentences
    assert sentences[0].startswith("**Take size=b**, the best within the limits `training_time_s<=3`: val_rmse 0.63.")
    assert sentences[2] == '**Load it** with `mlflow.pyfunc.load_model("models:/m-1")`.'
    assert sentences[-1].startswith("The next better one, size=e with val_rmse 0.61, has training_time_s 4 > 3")


def test_nearest_is_named_where_no_trial_meets_the_limits() -> None:
    """Nothing is chosen instead."""
    found = answer(made(limits="training_time_s<=0.01"))
    assert found.sentences == ()
    assert "the nearest, size=d, has training_time_s 0.1 > 0.01" in found.open_question
    assert "or limit model_memory_mb" in answer(made(limits="peak_memory_mb<=10")).open_question


@pytest.mark.parametrize(("metric", "best", "baseline", "beaten"), [
    pytest.param("val_rmse", 0.6, 0.8, True, id="beaten"),
    pytest.param("val_rmse", 0.6, 0.601, False, id="by less than noise"),
    pytest.param("val_accuracy", 0.7, 0.8, False, id="better than all"),
    pytest.param("val_accuracy", 0.9, 0.8, True, id="beaten, higher is better"),
])  # fmt: skip
def test_no_model_that_beats_the_baseline_by_noise_alone_is_called_better(
    metric: str, best: float, baseline: float, beaten: bool
) -> None:
    """The folds decide; that no model does better stands in the first sentence."""
    frame = study({"size": [1, 2, 3]}, score=lambda row: best, metric=metric, of_study={"baseline": [baseline] * 10})
    first, *others = answer(frame).sentences
    assert ("But no model beats the baseline" in first) is not beaten
    says = f"The baseline: a model that ignores all features has {metric} {baseline:g}."
    assert (says in others) is beaten
    assert ("try metric=balanced_accuracy" in first) is (metric == "val_accuracy" and not beaten and baseline == 0.8)


@pytest.mark.parametrize(("baseline", "chosen"), [(None, 512), ([0.7] * 10, 8)])
def test_cheapest_that_is_taken_beats_the_baseline_where_the_best_does(baseline: Any, chosen: int) -> None:
    """Within noise of the best is not better than nothing; nor is it said that the other one is worse beyond noise."""
    score, of_study = {8: 0.675, 512: 0.69}, {"baseline": baseline, "choose": "cheapest"}
    costs = {"training_time_s": lambda row: 80 / row["size"]}
    frame = study(
        {"size": [8, 512]}, costs, lambda row: score[row["size"]], model_sd=0.02, fold_sd=0.0, of_study=of_study
    )
    first, *others = answer(frame).sentences
    assert first.startswith(f"**Take size={chosen}**")
    assert not any(each.startswith("All others") for each in others)


def test_leak_that_the_study_has_named_is_named_again() -> None:
    """After the model, its costs and its address."""
    said = "late predicts paid alone: is it known when you predict? -P drop=late"
    assert answer(priced(leak=said)).sentences[3] == f"**A leak?** {said}"


EXPECTED = {"expected": 0.664, "expected_low": 0.61, "expected_high": 0.71, "left_out": 0.608}


@pytest.mark.parametrize(
    ("known", "says", "luck"),
    [
        pytest.param(EXPECTED, "on other rows like these expect rmse 0.66 (0.61 to 0.71)", "0.008:", id="interval"),
        pytest.param(EXPECTED | {"adaptive": True}, "expect rmse 0.66", "at least 0.008:", id="search that learns"),
        pytest.param(EXPECTED | {"left_out": 0.604}, "expect rmse 0.66", None, id="little luck"),
        pytest.param(
            {"test": 0.6365, "no_interval": "it takes 3 folds"},
            "test_rmse 0.64, without an interval for other rows: it takes 3 folds",
            None,
            id="no interval",
        ),
    ],
)
def test_first_sentence_says_what_the_logged_model_will_reach(
    known: dict[str, Any], says: str, luck: str | None
) -> None:
    """Its validation score, 0.6 here, is that of the best of many: how much too good it is is told where it counts."""
    frame = made({"a": (0.6, 8.0, 90.0), "b": (0.7, 8.0, 90.0)})
    run_id = frame.trials.loc[frame.trials["size"] == "a", "run_id"].item()
    about = {"model": "models:/m-1", "model_run_id": run_id, **known}
    found = answer(replace(frame, studies=frame.studies.assign(**about)))
    assert says in found.sentences[0]
    assert "val_rmse" not in found.sentences[0]
    told = [sentence for sentence in found.sentences if "too good" in sentence]
    assert [f"`val_rmse` is too good by {luck}" in each for each in told] == ([True] if luck else [])
    if known.get("no_interval") is None:
        assert found.table["expected_low"].tolist() == [0.61]
