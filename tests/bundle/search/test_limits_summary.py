"""What a study's run and its user are told of the limits: counts, tables, text, and who came nearest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from commands import ROOT, store_uri
from mlflow import MlflowClient
from reference import bundled, configured
from study_settings import study_settings

from entrypoints.limits.costs import metrics
from entrypoints.limits.duration_forecast import Forecast
from entrypoints.limits.extrapolation import Prediction
from entrypoints.limits.stop_or_skip import EarlyEnd, Stopping
from entrypoints.models.configuration import Configuration
from entrypoints.progress import Progress
from entrypoints.runs import RecordedRun
from entrypoints.search.ended_search import EndedSearch
from entrypoints.search.full_study import study_key
from entrypoints.search.limits_summary import MAX_NEAREST, Outcome, mark_feasible, outcome
from entrypoints.search.record import Record, TrialRecord
from entrypoints.tags import STUDY_KEY
from mlflow_sysmetrics.limits import Criteria, Stop

TIME = "training_time_s<=1"
SETTINGS, DATA = study_settings(folds=3), bundled("red_wine")
SIZES = (8, 16, 32, 64, 128)
TRIALS = [configured(batch_size=size) for size in SIZES]


@pytest.fixture
def run(empty_store: Path) -> RecordedRun:
    """The run of a study in a store of nothing else."""
    client = MlflowClient(store_uri(empty_store))
    experiment_id = client.create_experiment("studies", (empty_store / "artifacts").as_uri())
    return RecordedRun.of(client, client.create_run(experiment_id))


def _trial(place: int, figures: Mapping[str, float], **values: Any) -> TrialRecord:
    """The trial of one of the configurations, which took two seconds, one of them of CPU."""
    usual = {"val_rmse": 0.7 - place / 100, "elapsed_s": 2.0, "cpu_seconds": 1.0}
    record = TrialRecord(f"trial {place}", TRIALS[place], "FINISHED", usual | figures, run_id=f"run {place}")
    for name, value in values.items():
        setattr(record, name, value)
    return record


def _stopped(place: int, how: Any = "crossed", prediction: Prediction | None = None) -> TrialRecord:
    ending = EarlyEnd(Stop(TIME, "training_time_s", 1.4, 1.0, 120), how, prediction)
    figures = {"training_time_s": 0.2}
    return _trial(place, figures, status="KILLED", ending=ending, expected=ending.expected(figures))


def _outcome(
    run: RecordedRun,
    *records: TrialRecord,
    text: str = TIME,
    trials: list[Configuration] = TRIALS,
    planned: int | None = None,
) -> Outcome:
    stopping = Stopping(Criteria.parse(text, metrics("regression")), predict=True)
    record = Record("regression", Progress(planned or len(records), "val_rmse"), stopping.criteria)
    record.trials = {each.trial_id: each for each in records}
    study = EndedSearch(run, SETTINGS, DATA, record, Forecast([10.0] * len(trials), 50.0))
    return outcome(study, trials, stopping)


def _mixed() -> list[TrialRecord]:
    """Two trials that meet the limit, one that does not, and one for each way in which limits end a trial."""
    return [
        _trial(0, {"training_time_s": 0.5, "peak_memory_mb": 100.0}),
        _trial(1, {"training_time_s": 0.9, "peak_memory_mb": 100.0}),
        _stopped(2),
        _stopped(3, "predicted", Prediction(1.6, 1.4, 1.8)),
        _stopped(4, "skipped", Prediction(1.5, 1.4, 1.7)),
    ]


def test_metrics_of_the_study_say_who_met_the_limits_and_what_was_saved(run: RecordedRun) -> None:
    """Against the forecast, in which each trial takes ten seconds of one core. The page of metrics explains each."""
    figures = _outcome(run, *_mixed()).metrics
    assert figures == {
        "feasible": 2.0,
        "skipped": 1.0,
        "spent_cpu_s": 5.0,
        "spent_wall_s": 10.0,
        "saved_cpu_s": 27.0,
        "saved_wall_s": 24.0,
        "saved_cpu_percent": pytest.approx(100 * 27 / 32),
        "saved_wall_percent": pytest.approx(100 * 24 / 34),
    }
    page = (ROOT / "docs" / "metrics.md").read_text()
    assert [name for name in figures if f"`{name}`" not in page] == []


@pytest.mark.parametrize(
    ("text", "tags"),
    [
        pytest.param("training_time_s<=1x median after 2", ["true", "false", "false"], id="relative-judged-by-all"),
        pytest.param(TIME, [None, None, None], id="absolute-left-to-the-trials"),
    ],
)
def test_tag_of_feasible_trials_is_that_of_the_whole_study(run: RecordedRun, text: str, tags: list[str | None]) -> None:
    """A trial judges a relative limit by those before it; the tag by which the UI filters counts all of them.

    The last trial runs the second one's configuration again, and is judged as it is.
    """
    created = [run.client.create_run(run.experiment_id).info.run_id for _ in tags]
    trials = [_trial(place, {"training_time_s": 0.5 + place}, run_id=run_id) for place, run_id in enumerate(created)]
    trials[2].configuration = replace(TRIALS[1], repeat=1)
    stopping = Stopping(Criteria.parse(text, metrics("regression")), predict=True)
    record = Record("regression", Progress(len(trials), "val_rmse"), stopping.criteria)
    record.trials = {trial.trial_id: trial for trial in trials}
    mark_feasible(run, record, stopping)
    assert [run.client.get_run(run_id).data.tags.get("sysmetrics.feasible") for run_id in created] == tags


def test_stopped_trials_are_a_table(run: RecordedRun) -> None:
    """Each with its reason in parts, what was predicted if anything was, and its configuration."""
    rows = _outcome(run, *_mixed()).tables["stops.json"]
    common = {"criterion": TIME, "step": 120, "value": 1.4, "limit": 1.0}
    nothing = {"predicted": None, "low": None, "high": None}
    assert rows == [
        {"run_id": "run 2", "how": "crossed", **common, **nothing, **TRIALS[2].searched},
        {"run_id": "run 3", "how": "predicted", **common, **_bounds(1.6, 1.8), **TRIALS[3].searched},
        {"run_id": "run 4", "how": "skipped", **common, **_bounds(1.5, 1.7), **TRIALS[4].searched},
    ]


def _bounds(value: float, high: float) -> dict[str, float]:
    return {"predicted": value, "low": 1.4, "high": high}


def test_budget_is_a_table_by_rule(run: RecordedRun) -> None:
    """With what it is counted against."""
    rows = _outcome(run, *_mixed()).tables["budget.json"]
    assert [(row["reason"], row["trials"], row["saved_cpu_s"]) for row in rows] == [
        (f"{TIME}, crossed", 1, 9.0),
        (f"{TIME}, predicted", 1, 9.0),
        (f"{TIME}, skipped", 1, 9.0),
    ]
    assert all("forecast" in row["counted_against"] for row in rows)


def test_front_is_that_of_the_feasible_trials(run: RecordedRun) -> None:
    """Or, if there are none, of all that ran to their end; of each cost that is known."""
    best = _trial(4, {"training_time_s": 9.0, "peak_memory_mb": 100.0})
    rows = _outcome(run, *_mixed()[:2], best).tables["pareto.json"]
    of_time = [(row["trial_id"], row["val_rmse"]) for row in rows if row["cost"] == "training_time_s"]
    assert of_time == [("trial 0", 0.7), ("trial 1", 0.69)]
    assert {row["cost"] for row in rows} == {"training_time_s", "peak_memory_mb", "elapsed_s", "cpu_seconds"}
    assert [row["trial_id"] for row in _outcome(run, best).tables["pareto.json"]] == ["trial 4"] * 4


def test_tables_without_rows_are_left_out(run: RecordedRun) -> None:
    """Nothing was stopped, or nothing came to its end."""
    assert set(_outcome(run, *_mixed()).tables) == {"budget.json", "stops.json", "pareto.json"}
    assert set(_outcome(run, *_mixed()[:2]).tables) == {"pareto.json"}
    assert set(_outcome(run, *_mixed()[2:]).tables) == {"budget.json", "stops.json"}


def test_saving_is_counted_against_a_full_study_if_there_is_one(run: RecordedRun) -> None:
    """Of the same experiment and the same trials; its run is named."""
    full = run.client.create_run(run.experiment_id, tags={STUDY_KEY: study_key(SETTINGS, DATA)}).info.run_id
    rows = [{"status": "FINISHED", **each.searched, "elapsed_s": 4.0, "cpu_seconds": 3.0} for each in TRIALS]
    run.client.log_table(full, pd.DataFrame(rows), "trials.json")
    run.client.set_terminated(full, "FINISHED")
    found = _outcome(run, *_mixed())
    assert (found.metrics["saved_cpu_s"], found.metrics["saved_wall_s"]) == (6.0, 6.0)
    for text in (found.text, found.line, found.tables["budget.json"][0]["counted_against"]):
        assert f"the study without limits in run {full}" in text


def test_trial_that_may_converge_counts_as_no_saving(run: RecordedRun) -> None:
    """Nobody knows what it would have cost, and who reads the saving is told so."""
    stopped = _stopped(2)
    stopped.configuration = replace(TRIALS[2], tol=0.1)
    trials = [TRIALS[0], TRIALS[1], stopped.configuration]
    found = _outcome(run, *_mixed()[:2], stopped, trials=trials)
    assert found.metrics["saved_cpu_s"] == 0.0
    assert "trials with a tol might have ended sooner, and count as no saving" in found.text


def test_text_says_what_to_filter_by_and_what_each_rule_saved(run: RecordedRun) -> None:
    """The rule that saved most comes first."""
    cheap = _trial(1, {"training_time_s": 0.1}, status="KILLED", cut_off=True)
    cheap.figures |= {"elapsed_s": 9.0, "cpu_seconds": 4.5}
    text = _outcome(run, cheap, *_mixed()[2:]).text
    assert f"`{TIME}`. 0 of 4 trials meet them" in text
    assert "``tags.`sysmetrics.feasible` = 'true'``" in text
    assert (
        "7.5 s of CPU spent, 32.5 s saved (81 %; of the trials' wall time 62 %), counted against the forecast" in text
    )
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert table == [
        "| rule | trials stopped | CPU s saved |",
        "|---|---|---|",
        f"| {TIME}, crossed | 1 | 9.0 |",
        f"| {TIME}, predicted | 1 | 9.0 |",
        f"| {TIME}, skipped | 1 | 9.0 |",
        "| time limit | 1 | 5.5 |",
    ]


def test_text_of_a_study_in_which_nothing_was_stopped_has_no_table(run: RecordedRun) -> None:
    """Nor does it complain of a limit that tells trials apart."""
    text = _outcome(run, *_mixed()[:2], text="training_time_s<=9").text
    assert "|" not in text
    assert "cannot tell" not in text


def test_text_names_limits_that_cannot_tell_trials_apart(run: RecordedRun) -> None:
    """Most figures lie within the noise of the limit."""
    text = _outcome(run, *(_trial(place, {"training_time_s": 0.98 + place / 100}) for place in range(5))).text
    assert f"`{TIME}` cannot tell the configurations apart" in text


def test_line_counts_the_ways_in_which_trials_were_stopped(run: RecordedRun) -> None:
    """For the terminal."""
    line = _outcome(run, *_mixed()).line
    assert line.startswith(
        "Limits: 2 of 5 trials meet them; 1 crossed, 1 predicted, 1 skipped; saved 27 s of CPU (84 %)"
    )
    assert len(line.splitlines()) == 1
    assert "; none stopped; saved 0 s" in _outcome(run, *_mixed()[:2]).line


def test_trials_without_a_recorded_cost_are_said_to_be_left_out(run: RecordedRun) -> None:
    """In the text and for the terminal; saving and spending are those of the others."""
    failed = TrialRecord("failed", TRIALS[0], "FAILED")
    found = _outcome(run, *_mixed(), failed, replace(failed, trial_id="another"))
    said = "; without 2 trials whose cost is not recorded"
    assert found.line.endswith(said)
    assert f"{said}." in found.text
    assert found.metrics == _outcome(run, *_mixed()).metrics
    assert "whose cost" not in _outcome(run, *_mixed()).line


@pytest.mark.parametrize(
    ("more", "says"),
    [
        pytest.param("", "", id="none applied"),
        pytest.param(", peak_memory_mb<=99", "; 0 of 2 trials meet the others", id="another applied"),
    ],
)
def test_limit_that_was_not_applied_is_named_and_nothing_is_said_to_meet_it(
    run: RecordedRun, more: str, says: str
) -> None:
    """Two trials are too few for a median; who counts those within the limits counts none of it."""
    relative = "training_time_s<=1.5x median"
    found = _outcome(run, *_mixed()[:2], text=relative + more)
    met = f"`{relative}` was not applied: fewer than 5 trials have the figure{says}"
    assert found.line.startswith(f"Limits: {met}; none stopped; saved ")
    assert found.text.startswith(f"**Limits**: `{relative}{more}`. {met}. The best trial within")
    assert ("feasible" in found.metrics) is bool(more)


def test_repeated_run_is_no_further_trial_that_may_meet_the_limits(run: RecordedRun) -> None:
    """Those that meet them are counted once each, too."""
    again = _trial(0, {"training_time_s": 0.5}, trial_id="again", configuration=replace(TRIALS[0], repeat=1))
    found = _outcome(run, *_mixed(), again)
    assert "2 of 5 trials meet them" in found.line
    assert "2 of 5 trials meet them" in found.text


def test_nothing_is_said_of_the_nearest_while_a_trial_meets_the_limits(run: RecordedRun) -> None:
    """There is a result."""
    assert _outcome(run, *_mixed()).nothing is None


def test_nothing_is_said_of_the_nearest_where_no_trial_is_known_to_break_a_limit(run: RecordedRun) -> None:
    """All were ended by something else."""
    cut_off = _trial(0, {"training_time_s": 0.1}, status="KILLED", cut_off=True)
    assert _outcome(run, cut_off, _trial(1, {}, status="FAILED")).nothing is None


def test_sentence_without_a_result_names_the_three_nearest(run: RecordedRun) -> None:
    """By configuration, with how far off each of them is; stopped ones by what they were predicted to cost."""
    trials = [
        _trial(0, {"training_time_s": 9.0}),
        _trial(1, {"training_time_s": 1.25, "peak_memory_mb": 110.0}),
        _stopped(2),
        _stopped(3, "predicted", Prediction(1.45, 1.4, 1.5)),
    ]
    text = f"{TIME}, peak_memory_mb<=100"
    nothing = _outcome(run, *trials, text=text).nothing
    assert MAX_NEAREST == 3
    rest = "learning_rate=0.01, alpha=0.001"
    assert nothing == (
        f"criteria={text}: no trial meets them; the nearest are: "
        f"algorithm=linear, batch_size=16, {rest} has training_time_s 1.25 (limit 1), peak_memory_mb 110 (limit 100); "
        f"algorithm=linear, batch_size=32, {rest} has training_time_s 1.4 (limit 1); "
        f"algorithm=linear, batch_size=64, {rest} has training_time_s 1.45 (limit 1); "
        "raise these limits"
    )


def test_sentence_without_a_result_says_how_many_trials_it_is_known_of(run: RecordedRun) -> None:
    """Others failed, were ended from outside, or did not begin: they may meet the limits."""
    cut_off = _trial(1, {"training_time_s": 0.1}, status="KILLED", cut_off=True)
    trials = [_trial(0, {"training_time_s": 1.4}), cut_off, _trial(2, {}, status="FAILED"), _stopped(3)]
    nothing = _outcome(run, *trials, planned=108).nothing
    assert nothing is not None
    assert nothing.startswith(f"criteria={TIME}: of 108 trials 2 can be judged, and none of these meets them; the near")
