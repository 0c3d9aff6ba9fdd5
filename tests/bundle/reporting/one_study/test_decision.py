"""The model to take: the best within the limits, a cheaper one as good, and what the next better one would need."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pytest
from mlflow.entities import Run, RunData, RunInfo, RunTag

from entrypoints.limits.noise import FOLDS, KINDS, SHARE, UNKNOWN, Noise
from entrypoints.reporting.one_study.decision import BETTER, CHEAPER, CHOSEN, decision, in_words, upper_limits
from entrypoints.reporting.studies import Study

# A score, a training time and a memory each; noise is 0.01 of the score, and 10 % of the time.
TRIALS = {
    "a": (0.59, 8.0, 90.0),
    "e": (0.61, 4.0, 90.0),
    "b": (0.63, 2.0, 90.0),
    "c": (0.635, 0.5, 90.0),
    "d": (0.7, 0.1, 300.0),
}
NOISES = {
    "val_rmse": Noise("val_rmse", 0.005, "val_rmse", 0.01, 50, FOLDS),
    "training_time_s": Noise("training_time_s", 0.04, SHARE, 0.1, 50, KINDS),
}


WHETHER_CHEAPER = "Whether one that is as good within noise (0.01) is cheaper cannot be told."


def _study(criteria: str | None = None, trials: dict[str, tuple[float, float, float]] = TRIALS) -> Study:
    """Trials named by their hyperparameter; accuracies would be these with their sign changed."""
    rows = [
        {"run_id": name, "status": "FINISHED", "diverged": False, "size": name, "val_rmse": score}
        | {"training_time_s": time_s, "peak_memory_mb": memory_mb}
        for name, (score, time_s, memory_mb) in trials.items()
    ]
    tags = [RunTag("sysmetrics.dataset", "wine"), *([RunTag("sysmetrics.criteria", criteria)] if criteria else [])]
    run = Run(RunInfo("1" * 32, "0", "me", "FINISHED", 0, 1, "active", run_name="tune"), RunData(tags=tags))
    columns = ["run_id", "status", "diverged", "size", "val_rmse", "training_time_s", "peak_memory_mb"]
    table: pd.DataFrame = pd.DataFrame(rows, columns=columns)
    return Study(run, table, pd.DataFrame(), ["size"], "val_rmse", False, noises=NOISES)


def _roles(studies: list[Study]) -> dict[str, str]:
    return {row["role"]: row["run_id"] for row in decision(studies, ("training_time_s",)).to_dict("records")}


@pytest.mark.parametrize(
    ("criteria", "roles"),
    [
        pytest.param(None, {CHOSEN: "a"}, id="no limits, none as good"),
        pytest.param("training_time_s<=3", {CHOSEN: "b", CHEAPER: "c", BETTER: "e"}, id="one as good and cheaper"),
        pytest.param("training_time_s<=5", {CHOSEN: "e", BETTER: "a"}, id="none as good"),
        pytest.param("training_time_s<=1", {CHOSEN: "c", BETTER: "e"}, id="a better one is so beyond noise"),
        pytest.param("peak_memory_mb<=100", {CHOSEN: "a"}, id="a limit that the best meets"),
        pytest.param("training_time_s<=1.5x median", {CHOSEN: "b", CHEAPER: "c", BETTER: "e"}, id="of the median"),
        pytest.param("training_time_s<=0.01", {CHOSEN: "a"}, id="a limit that none meets"),
        pytest.param("training_time_s>=3", {CHOSEN: "a"}, id="a lower limit that the best meets"),
        pytest.param("peak_memory_mb>=100", {CHOSEN: "d", BETTER: "a"}, id="a lower limit"),
        pytest.param(
            "training_time_s<=3, training_time_s<=5x median", {CHOSEN: "b", CHEAPER: "c", BETTER: "e"}, id="two"
        ),
        pytest.param("training_time_s<=0", {CHOSEN: "a"}, id="a limit of nothing"),
        pytest.param("cpu_seconds<=5", {CHOSEN: "a"}, id="a limit on what was not measured"),
        pytest.param(
            "cpu_seconds<=5, training_time_s<=3",
            {CHOSEN: "b", CHEAPER: "c", BETTER: "e"},
            id="one of two measured",
        ),
    ],
)
def test_decision_is_the_best_within_the_limits_and_its_neighbours(criteria: str | None, roles: dict[str, str]) -> None:
    """`b` and `c` differ by less than noise; the median of the times is 2 s; `e` breaks limits less than `a`."""
    assert _roles([_study(), *([_study(criteria)] if criteria else [])]) == roles


def test_lower_cost_within_its_noise_is_not_cheaper() -> None:
    """Nor is a score beyond noise as good."""
    near = {"a": (0.60, 1.0, 90.0), "b": (0.605, 0.92, 90.0), "c": (0.62, 0.1, 90.0)}
    assert _roles([_study(trials=near)]) == {CHOSEN: "a"}
    assert _roles([_study(trials=near | {"d": (0.605, 0.5, 90.0)})]) == {CHOSEN: "a", CHEAPER: "d"}


def test_best_of_those_that_are_as_cheap_is_named() -> None:
    """Which of them is the very cheapest is chance."""
    cheap = {"a": (0.60, 1.0, 90.0), "b": (0.605, 0.5, 90.0), "c": (0.603, 0.51, 90.0), "d": (0.602, 0.7, 90.0)}
    assert _roles([_study(trials=cheap)]) == {CHOSEN: "a", CHEAPER: "c"}


@pytest.mark.parametrize(
    ("seconds", "degrees", "changed", "said"),
    [
        pytest.param(0.85, 50, (), False, id="the cheapest of nine by chance"),
        pytest.param(0.8, 50, (), True, id="beyond chance"),
        pytest.param(0.8, 2, (), False, id="of a noise that is hardly known"),
        pytest.param(0.85, 2, ("training_time_s",), True, id="of a cost that hyperparameters change"),
    ],
)
def test_cheapest_of_many_equal_trials_is_not_called_cheaper(
    seconds: float, degrees: int, changed: tuple[str, ...], said: bool
) -> None:
    """With a noise of 4 % one of them is 1.2 times the cheapest of the other nine, or more, in 1 % of cases."""
    trials = {"a": (0.60, 1.0, 90.0), **{f"b{each}": (0.601, 1.0, 90.0) for each in range(8)}}
    study = _study(trials=trials | {"c": (0.601, seconds, 90.0)})
    noise = replace(NOISES["training_time_s"], degrees_of_freedom=degrees)
    study = replace(study, noises={**NOISES, "training_time_s": noise})
    rows = decision([study], changed).to_dict("records")
    assert (CHEAPER in [row["role"] for row in rows]) is said
    assert (WHETHER_CHEAPER in in_words(rows, study)[1]) is not said


@pytest.mark.parametrize(
    ("seconds", "says"),
    [
        pytest.param(0.005, "As good within noise (0.01) and 200 times cheaper", id="a far cheaper one"),
        pytest.param(0.75, WHETHER_CHEAPER, id="one that is cheaper by no more than what is usual"),
        pytest.param(float("nan"), WHETHER_CHEAPER, id="a cost that is not known"),
        pytest.param(0.99, "None that is as good within noise (0.01) is cheaper.", id="about as cheap"),
        pytest.param(2.0, "None that is as good within noise (0.01) is cheaper.", id="a dearer one"),
    ],
)
def test_cheaper_trial_of_a_cost_without_a_known_noise_is_not_denied(seconds: float, says: str) -> None:
    """Nor said, if it may be the usual noise of such a cost."""
    unknown = Noise("training_time_s", None, SHARE, None, 0, UNKNOWN)
    trials = {"a": (0.6, seconds if seconds != seconds else 1.0, 90.0), "b": (0.601, seconds, 90.0)}
    study = replace(_study(trials=trials), noises={**NOISES, "training_time_s": unknown})
    assert says in in_words(decision([study]).to_dict("records"), study)[1]


@pytest.mark.parametrize(
    ("chosen_mb", "cheapest_mb", "says"),
    [
        pytest.param(0.08, 0.0, "None that is as good within noise (0.01) is cheaper.", id="less than a few pages"),
        pytest.param(0.3, 0.22, "None that is as good within noise (0.01) is cheaper.", id="a quarter, but few pages"),
        pytest.param(0.3, 0.15, "and 2 times cheaper: size=b, with `model_memory_mb` 0.15.", id="more than that"),
        pytest.param(0.3, 0.0, "and cheaper, down to nothing: size=b, with `model_memory_mb` 0.", id="nothing at all"),
    ],
)
def test_few_pages_of_memory_are_not_cheaper(chosen_mb: float, cheapest_mb: float, says: str) -> None:
    """Whatever they are as a share; a process takes or keeps 0.1 MB by chance."""
    study = _study(trials={"a": (0.6, 1.0, 90.0), "b": (0.601, 1.0, 90.0)})
    study = replace(study, trials=study.trials.assign(model_memory_mb=[chosen_mb, cheapest_mb]))
    rows = decision([study, _study("model_memory_mb<=1")], ["model_memory_mb"]).to_dict("records")
    assert says in in_words(rows, study)[1]


@pytest.mark.parametrize("first", ["val_rmse<=0.9", "val_loss<=9", "mean_cpu_percent<=100"])
def test_only_a_cost_can_be_cheaper(first: str) -> None:
    """A limit on a score, a loss or what should be high is not on a cost, though it is given first."""
    study = _study(trials={"a": (0.6, 8.0, 90.0), "b": (0.601, 0.5, 90.0)})
    study = replace(study, trials=study.trials.assign(val_loss=[1.0, 1.1], mean_cpu_percent=[90.0, 91.0]))
    rows = decision([study, _study(f"{first}, training_time_s<=9")], ["training_time_s"]).to_dict("records")
    assert [(row["run_id"], row["cost"]) for row in rows if row["role"] == CHEAPER] == [("b", "training_time_s")]


def test_higher_scores_may_be_better() -> None:
    """The same trials with accuracies."""
    accuracies = {name: (1 - score, *others) for name, (score, *others) in TRIALS.items()}
    full, limited = (
        replace(_study(criteria, accuracies), higher_is_better=True) for criteria in (None, "training_time_s<=3")
    )
    assert _roles([full, limited]) == {CHOSEN: "b", CHEAPER: "c", BETTER: "e"}


def test_words_name_values_costs_and_the_limit_that_is_broken() -> None:
    """Two lines, whose numbers are those of the table."""
    studies = [_study(), _study("training_time_s<=3")]
    first, second = in_words(decision(studies, ["training_time_s"]).to_dict("records"), studies[0])
    assert first == "wine: val_rmse 0.63 with size=b, the best within the limits"
    assert second == (
        "It takes `training_time_s` 2, `peak_memory_mb` 90. "
        "As good within noise (0.01) and 4 times cheaper: size=c, with `training_time_s` 0.5. "
        "The next better one, val_rmse 0.61 with size=e, has `training_time_s` 4, 1.333 times the limit. "
        "The limits: `training_time_s<=3`."
    )


@pytest.mark.parametrize(
    ("criteria", "says"),
    [
        pytest.param("training_time_s<=0.01", "No trial that ran to its end meets `training_time_s<=0.01`", id="none"),
        pytest.param("peak_memory_mb<=100", "None is better beyond noise, whatever it costs.", id="all that is better"),
        pytest.param(None, "None that is as good within noise (0.01) is cheaper.", id="without limits"),
    ],
)
def test_words_say_what_there_is_not(criteria: str | None, says: str) -> None:
    """Rather than nothing."""
    studies = [_study(), *([_study(criteria)] if criteria else [])]
    first, second = in_words(decision(studies, ["training_time_s"]).to_dict("records"), studies[0])
    assert first.startswith("wine: val_rmse 0.59 with size=a")
    assert says in second
    assert ("within" in first) is (criteria == "peak_memory_mb<=100")


@pytest.mark.parametrize(
    ("criteria", "trials", "not_judged"),
    [
        pytest.param("cpu_seconds<=5", 5, "cpu_seconds<=5", id="not measured"),
        pytest.param("cpu_seconds<=5, training_time_s<=9", 5, "cpu_seconds<=5", id="the other one is met"),
        pytest.param("cpu_seconds>=2x median", 5, "cpu_seconds>=2x median", id="not measured, of the median"),
        pytest.param("training_time_s<=2x median", 4, "training_time_s<=2x median", id="median of too few trials"),
    ],
)
def test_limit_that_cannot_be_judged_is_not_called_met(criteria: str, trials: int, not_judged: str) -> None:
    """Nor broken."""
    some = dict(list(TRIALS.items())[:trials])
    studies = [_study(trials=some), _study(criteria)]
    rows = decision(studies).to_dict("records")
    assert (rows[0]["meets"], rows[0]["not_judged"]) == (None, not_judged)
    first, second = in_words(rows, studies[0])
    assert "within the limits" not in first
    assert second.startswith(f"Whether it meets `{not_judged}` is not known. ")
    assert second.endswith(f"The limits: `{criteria}`.")


def test_better_trial_that_may_meet_the_limits_is_said_to() -> None:
    """It lacks the memory that is limited; the others meet the limit."""
    study = _study(trials=TRIALS | {"a": (0.59, 8.0, float("nan"))})
    rows = decision([study, _study("peak_memory_mb<=100")]).to_dict("records")
    assert [(row["role"], row["run_id"], row["meets"]) for row in rows] == [(CHOSEN, "e", True), (BETTER, "a", None)]
    assert "may meet the limits: whether it meets `peak_memory_mb<=100` is not known." in in_words(rows, study)[1]


def test_study_without_a_finished_trial_decides_nothing() -> None:
    """Its page has a title all the same."""
    assert decision([_study(trials={})]).empty
    assert in_words([], _study(trials={})) == ("wine: what its models cost", "")
    assert upper_limits([_study()]) == {}


def test_limits_are_numbers_by_the_full_study() -> None:
    """The tightest upper ones; the first study under some counts."""
    several = "training_time_s<=1.5x median, training_time_s<=4, peak_memory_mb<=9, mean_cpu_percent>=10"
    limits = upper_limits([_study(), _study(several), _study("peak_memory_mb<=1")])
    assert limits == {"training_time_s": 3.0, "peak_memory_mb": 9.0}


def _limited(criteria: str, feasible: dict[str, bool | None], stopped: int = 3) -> Study:
    """A study under limits that tagged its trials so, and stopped some others, dearer than all of these."""
    study = _study(criteria)
    ran = study.trials.assign(feasible=[feasible.get(name) for name in study.trials["run_id"]], stop_how=None)
    dearer = ran.head(1).assign(status="KILLED", stop_how="crossed", feasible=False, val_rmse=float("nan"))
    return replace(study, trials=pd.concat([ran, *[dearer] * stopped], ignore_index=True))


@pytest.mark.parametrize(
    ("criteria", "feasible", "roles"),
    [
        pytest.param("training_time_s<=1.5x median", dict.fromkeys("aebcd", True), {CHOSEN: "a"}, id="all meet it"),
        pytest.param(
            "training_time_s<=1.5x median",
            {"a": False, "e": False, "b": True, "c": True, "d": True},
            {CHOSEN: "b", CHEAPER: "c", BETTER: "e"},
            id="two break it",
        ),
        pytest.param(
            "peak_memory_mb<=1.5x median, training_time_s<=5",
            {"a": False, "e": True, "b": True, "c": True, "d": True},
            {CHOSEN: "e", BETTER: "a"},
            id="one breaks a number",
        ),
    ],
)
def test_study_under_limits_alone_is_decided_as_it_judged_its_trials(
    criteria: str, feasible: dict[str, bool | None], roles: dict[str, str]
) -> None:
    """Its relative limits are of stopped trials, too: over those that came to their end 1.5x median is 3 s."""
    assert _roles([_limited(criteria, feasible)]) == roles


def test_words_on_a_study_under_limits_alone_leave_out_what_stopped_trials_would_tell() -> None:
    """What its relative limits came to, and whether a dearer trial would have been better."""
    study = _limited("training_time_s<=1.5x median", {"a": False, "e": False, "b": True, "c": True, "d": True})
    _, second = in_words(decision([study]).to_dict("records"), study)
    assert "The next better one, val_rmse 0.61 with size=e, breaks the limits." in second
    study = _limited("training_time_s<=9", dict.fromkeys("aebcd", True))
    first, second = in_words(decision([study]).to_dict("records"), study)
    assert first.endswith("size=a, the best within the limits")
    assert "None is better" not in second


def test_trials_that_a_study_under_limits_did_not_judge_are_not_called_within() -> None:
    """Nor those of one with too few trials for a relative limit."""
    for study in (_limited("training_time_s<=9", {}), _limited("training_time_s<=1.5x median after 9", {"a": True})):
        rows = decision([study]).to_dict("records")
        assert (rows[0]["meets"], rows[0]["not_judged"]) == (None, study.criteria)


def test_diverged_trials_do_not_count_in_a_relative_limit() -> None:
    """The study did not apply it to the four that came to their end, and tagged them all the same."""
    study = _limited("training_time_s<=1.5x median", dict.fromkeys("aebcd", True), stopped=0)
    few = study.trials.assign(diverged=[False] * 4 + [True] * (len(study.trials) - 4))
    (chosen, *_) = decision([replace(study, trials=few)]).to_dict("records")
    assert (chosen["meets"], chosen["not_judged"]) == (None, study.criteria)


def test_relative_limits_of_a_study_under_limits_alone_are_not_known() -> None:
    """Nor which other one on that figure is the tightest."""
    several = "training_time_s<=1.5x median, training_time_s<=4, peak_memory_mb<=9"
    assert upper_limits([_limited(several, {})]) == {"peak_memory_mb": 9.0}
