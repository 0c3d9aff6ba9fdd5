"""What limits save and lose against a full study: real, replayed, and as they tighten."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from commands import store_uri
from example_courses import costing
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run, RunData, RunTag

from benchmarks.report_scale import fill
from entrypoints.limits.stop_or_skip import Stopping
from entrypoints.reporting.savings.replay import Course
from entrypoints.reporting.savings.rules import Full, controls, full_of, of_limits, real, rules, thinned, tradeoff
from entrypoints.reporting.selection import by_ids
from entrypoints.reporting.studies import Study

ROWS = 1000
STEP_MS = {8: 1.0, 16: 2.0, 32: 4.0, 64: 8.0, 128: 16.0}
RMSE = {8: 0.9, 16: 0.7, 32: 0.6, 64: 0.5, 128: 0.8}


def _course(size: int, share: float = 1.0, stopped_at: int | None = None) -> Course:
    """One of five trials, the more expensive the larger its batch; a share of its cost if it was stopped."""
    course = costing(STEP_MS[size] * share, size, val_rmse=RMSE[size], test_rmse=RMSE[size] + 0.1)
    return replace(course, stopped_at=stopped_at)


@pytest.fixture
def full() -> Full:
    """Five trials that ran to their end, which cost 0.5, 1, 2, 4 and 8 s of training and of CPU."""
    return Full([_course(size) for size in STEP_MS], ROWS, "rmse", higher_is_better=False, search_s=31.0, ended=5)


def test_real_study_is_compared_trial_by_trial(full: Full) -> None:
    """CPU of the trials and wall time of the searches, whatever order the trials had; those stopped are known."""
    criteria = full.criteria("training_time_s<=2.5")
    ran = [_course(128, 0.1, 50), _course(8), _course(64, 0.25, 125), _course(16), _course(32)]
    compared = real(full, ran, criteria, search_s=12.4)
    assert compared is not None
    trials, verdict = compared
    assert trials == 5
    assert verdict.saved_cpu == pytest.approx(1 - (0.5 + 1 + 2 + 1 + 0.8) / 15.5)
    assert verdict.saved_wall == pytest.approx(0.6)
    assert verdict.saved_steps == pytest.approx((450 + 375) / 2500)
    assert verdict.infeasible_cost == pytest.approx(1.8 / 12)
    assert (verdict.feasible, verdict.false_stops) == (3, 0)
    assert (verdict.val_regret, verdict.test_regret) == (0.0, 0.0)


def test_trial_whose_cost_is_not_recorded_has_saved_an_unknown_amount(full: Full) -> None:
    """As where the process of a stopped trial died. Steps and the wall time of the searches are known."""
    lost = replace(_course(128, stopped_at=50), figures={"val_rmse": 0.8})
    ran = [*(_course(size) for size in (8, 16, 32, 64)), lost]
    compared = real(full, ran, full.criteria("training_time_s<=2.5"), search_s=12.4)
    assert compared is not None
    verdict = compared[1]
    assert math.isnan(verdict.saved_cpu)
    assert math.isnan(verdict.infeasible_cost)
    assert verdict.saved_wall == pytest.approx(0.6)
    assert verdict.saved_steps == pytest.approx(450 / 2500)
    partly = real(full, ran, full.criteria("training_time_s<=2.5"), search_s=math.nan)
    assert partly is not None
    assert math.isnan(partly[1].saved_wall)


def test_real_study_of_a_part_is_compared_with_that_part(full: Full) -> None:
    """The searches then had different work, so that the wall time is that of the trials."""
    compared = real(full, [_course(8), _course(128, 0.5, 250)], full.criteria("training_time_s<=2.5"), search_s=1.0)
    assert compared is not None
    trials, verdict = compared
    assert trials == 2
    assert verdict.saved_cpu == pytest.approx(4 / 8.5)
    assert verdict.saved_wall == pytest.approx(8 / 17)


AS_WHOLE = {"cpus": "4", "ray_address": "local"}


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> tuple[MlflowClient, Study]:
    """A study of eight trials in a store."""
    uri = store_uri(tmp_path_factory.mktemp("store"))
    client = MlflowClient(uri)
    return client, by_ids(client, [fill(uri, 8)])[0]


def _took(study: Study, search_s: float, params: dict[str, str], tags: dict[str, str], cores: str = "4") -> Study:
    """This study, as if its search had taken so long."""
    each = [Param(name, value) for name, value in params.items()]
    data = RunData([Metric("search_time_s", search_s, 0, 0)], each, [RunTag(*tag) for tag in tags.items()])
    return replace(study, run=Run(study.run.info, data), hosts={"usable_cores": (cores,)})


@pytest.mark.parametrize(
    ("params", "cores", "resumed", "saved_percent"),
    [
        pytest.param(AS_WHOLE, "4", False, 75.0, id="as many cores"),
        pytest.param(AS_WHOLE | {"cpus": "all"}, "4", False, 75.0, id="all of as many"),
        pytest.param(AS_WHOLE | {"cpus": "2"}, "4", False, 0.0, id="other cores"),
        pytest.param(AS_WHOLE | {"ray_address": "auto"}, "4", False, 0.0, id="a cluster"),
        pytest.param(AS_WHOLE | {"cpus": "all"}, "8", False, 0.0, id="all of more cores"),
        pytest.param(AS_WHOLE | {"resumed_by_1": "a run"}, "4", False, 0.0, id="continued"),
        pytest.param(AS_WHOLE, "4", True, 0.0, id="the full study was continued"),
    ],
)
def test_wall_times_of_searches_are_compared_on_as_many_cores_alone(
    stored: tuple[MlflowClient, Study], params: dict[str, str], cores: str, resumed: bool, saved_percent: float
) -> None:
    """One took 4 s, the other 1 s for the same trials. Else wall time is that of the trials, which is the same."""
    client, study = stored
    whole = _took(study, 4.0, AS_WHOLE | ({"resumed_by_1": "a run"} if resumed else {}), study.run.data.tags)
    limited = _took(study, 1.0, params, {"sysmetrics.criteria": "elapsed_s<=1e9"}, cores)
    full = full_of(client, whole)
    assert full is not None
    row = rules(client, full, whole, [limited]).rules[0]
    assert (row["kind"], row["saved_wall_percent"]) == ("real", pytest.approx(saved_percent))


@pytest.mark.parametrize("run_id", [pytest.param("f" * 32, id="gone"), pytest.param("0" * 32, id="another run")])
def test_study_without_its_preparation_cannot_be_replayed(stored: tuple[MlflowClient, Study], run_id: str) -> None:
    """How many rows a fold has is then unknown."""
    client, study = stored
    assert full_of(client, _took(study, 4.0, {}, {"sysmetrics.prepare_run_id": run_id})) is None


def test_real_study_of_other_trials_is_not_compared(full: Full) -> None:
    """There is nothing to hold against each other."""
    assert real(full, [costing(1.0, 4096, val_rmse=1.0)], full.criteria("training_time_s<=1"), 1.0) is None


def test_stopping_the_best_feasible_trial_is_a_regret(full: Full) -> None:
    """Of what is left the best one is 0.1 worse, in both scores, and one stop was false."""
    ran = [_course(8), _course(16), _course(32, 0.5, 250), _course(64, 0.1, 50), _course(128, 0.1, 50)]
    compared = real(full, ran, full.criteria("training_time_s<=2.5"), 31.0)
    assert compared is not None
    assert compared[1].val_regret == pytest.approx(0.1)
    assert compared[1].test_regret == pytest.approx(0.1)
    assert compared[1].false_stops == 1


def test_limits_are_replayed_beside_the_controls(full: Full) -> None:
    """Each row says how its figures are known; shares are percentages."""
    saved = of_limits(full, Stopping(full.criteria("training_time_s<=2.5"), predict=False), "the study")
    rows = saved.rules
    assert [(row["kind"], row["rule"]) for row in rows] == [
        ("replayed", "training_time_s<=2.5, predict=off"),
        ("control", "first report only"),
        ("control", "median rule"),
        ("control", "ASHA"),
        ("control", "random, equal cost"),
    ]
    assert {row["study"] for row in rows} == {"the study"}
    # Beyond the limit and three times the usual noise of 10 %: 3.25 of 4 s and of 8 s.
    assert rows[0]["saved_cpu_percent"] == pytest.approx(100 * (0.75 + 4.75) / 15.5, abs=0.2)
    assert (rows[0]["feasible"], rows[0]["feasible_stopped"], rows[0]["val_regret"]) == (3, 0, 0.0)
    (part,) = saved.by_criterion
    assert (part["study"], part["rule"], part["kind"]) == ("the study", rows[0]["rule"], "replayed")
    assert (part["criterion"], part["trials"]) == ("training_time_s<=2.5", 2)
    for share in ("saved_cpu_percent", "saved_steps_percent"):
        assert part[share] == pytest.approx(rows[0][share])


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        pytest.param("training_time_s<=2.5, elapsed_s<=9, mean_step_time_ms<=99", "", id="times"),
        pytest.param("peak_memory_mb<=200, inference_latency_ms<=9, val_rmse<=9", "", id="reports and the end"),
        pytest.param("mean_cpu_percent>=50, training_time_s<=2.5", "mean_cpu_percent", id="mean of CPU"),
        pytest.param("cpu_seconds<=9, model_memory_mb<=9", "cpu_seconds, model_memory_mb", id="of the end alone"),
        pytest.param("cpu_seconds>=1", "", id="lower limit on what grows"),
    ],
)
def test_limits_that_no_report_tells_of_are_named_in_a_replay(full: Full, text: str, missing: str) -> None:
    """What is judged at a trial's end stops none of them; the controls know no limits."""
    rows = of_limits(full, Stopping(full.criteria(text), predict=True), "the study").rules
    assert [row["not_replayed"] for row in rows] == [missing, "", "", "", ""]


def test_random_control_spends_what_the_limits_spent(full: Full) -> None:
    """Its regret is the mean over orders; it knows nothing of limits, so that infeasible trials cost their share."""
    verdict = controls(full, full.criteria("training_time_s<=2.5"), cpu_share=0.6)["random, equal cost"]
    assert 0.4 <= verdict.saved_cpu < 0.7
    assert verdict.val_regret > 0
    assert verdict.infeasible_cost > 0.2


def test_tighter_limits_save_more_and_cost_the_best_trial(full: Full) -> None:
    """From one that every trial meets to one that a single one meets; stopping itself never loses a feasible one."""
    rows = tradeoff(full, "training_time_s")
    assert rows[0]["limit"] == 8.0
    assert (rows[0]["feasible"], rows[0]["saved_cpu_percent"], rows[0]["val_regret_all"]) == (5, 0.0, 0.0)
    assert [row["limit"] for row in rows] == sorted((row["limit"] for row in rows), reverse=True)
    saved = [row["saved_cpu_percent"] for row in rows]
    assert saved == sorted(saved)
    last = next(row for row in reversed(rows) if row["feasible"] == 1)
    assert last["val_regret_all"] == pytest.approx(0.4)
    assert {row["val_regret_feasible"] for row in rows if row["feasible"]} == {0.0}


def test_price_of_a_limit_holds_what_stopping_has_lost() -> None:
    """0.3 between the best trial and the best that meets the limit, and 0.1 since that one was stopped all the same."""
    figures = {0.9: 100.0, 0.8: 101.0, 0.5: 200.0}
    courses = [costing(1.0, val_rmse=rmse, test_rmse=rmse, peak_memory_mb=mb) for rmse, mb in figures.items()]
    courses[1].reports[100]["peak_memory_mb"] = 500.0
    full = Full(courses, ROWS, "rmse", higher_is_better=False, search_s=31.0, ended=3)
    row = next(row for row in tradeoff(full, "peak_memory_mb") if row["feasible"] == 2)
    assert (row["val_regret_feasible"], row["val_regret_all"]) == (pytest.approx(0.1), pytest.approx(0.4))


def test_limit_that_no_trial_meets_has_no_regret_to_speak_of(full: Full) -> None:
    """It is NaN, which is drawn and logged as nothing."""
    cheap = replace(
        full, courses=[replace(course, diverged=course.figures["val_rmse"] > 0.6) for course in full.courses]
    )
    last = tradeoff(cheap, "training_time_s")[-1]
    assert last["feasible"] == 0
    assert math.isnan(last["val_regret_all"])


@pytest.mark.parametrize(
    ("most", "kept"),
    [
        pytest.param(3, [0, 4, 9], id="fewer"),
        pytest.param(10, list(range(10)), id="all"),
        pytest.param(20, list(range(10)), id="more than there are"),
    ],
)
def test_thinned_items_are_evenly_spaced(most: int, kept: list[int]) -> None:
    """The first and the last among them."""
    assert thinned(range(10), most) == kept


def test_places_that_are_to_be_kept_are_among_the_thinned() -> None:
    """Each once, in order."""
    assert thinned(range(10), 3, [7, 4]) == [0, 4, 7, 9]


@pytest.mark.parametrize("best", range(1, 9))
def test_best_trial_and_the_best_at_each_limit_are_replayed(monkeypatch: pytest.MonkeyPatch, best: int) -> None:
    """Of ten trials three are, and these: the price of a limit is as if all were, and it is said how many there are."""
    courses = [costing(1.0 + place, 8, val_rmse=1.0 - place / 10, test_rmse=1.0) for place in range(9)]
    courses.insert(best, costing(1.5, 8, val_rmse=0.05, test_rmse=1.0))
    full = Full(courses, ROWS, "rmse", higher_is_better=False, search_s=31.0, ended=50)
    whole = tradeoff(full, "training_time_s")
    monkeypatch.setattr("entrypoints.reporting.savings.rules.MAX_REPLAYED", 3)
    rows = tradeoff(full, "training_time_s")
    assert [row["val_regret_all"] for row in rows] == pytest.approx(
        [row["val_regret_all"] for row in whole], nan_ok=True
    )
    assert {(row["trials"], row["of_trials"]) for row in whole} == {(10, 50)}
    assert all(row["trials"] < 10 for row in rows)
