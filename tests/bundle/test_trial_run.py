"""What is read back of a trial's run, from the tags that a trial writes."""

from __future__ import annotations

from mlflow.entities import LifecycleStage, Metric, Param, Run, RunData, RunInfo, RunTag

from entrypoints.limits.stop_or_skip import EarlyEnd
from entrypoints.tags import CONVERGED, DIVERGED, FEASIBLE, PLACE, REPEAT
from entrypoints.trial_run import TrialRun
from mlflow_sysmetrics.limits import Stop
from mlflow_sysmetrics.tags import BY_CRITERIA, HOST_PREFIX, TRIAL_ID

ENDING = EarlyEnd(Stop("elapsed_s<=1", "elapsed_s", 2.0, 1.0, 120), "crossed")


def _run(tags: dict[str, str], status: str = "FINISHED") -> Run:
    info = RunInfo("r", "0", "u", status, 1000, 2000, LifecycleStage.ACTIVE, run_name="a trial")
    metrics = [Metric("elapsed_s", 2.0, 0, 0), Metric("system/process_memory_mb", 90.0, 0, 1)]
    return Run(info, RunData(metrics, [Param("alpha", "0.1")], [RunTag(*each) for each in tags.items()]))


def test_trial_comes_back_as_it_was_written() -> None:
    """With how its limits ended it; the thread's series is no figure."""
    tags = {TRIAL_ID: "t", PLACE: "7", REPEAT: "2", DIVERGED: "false", CONVERGED: "true", FEASIBLE: "false"}
    tags[f"{HOST_PREFIX}os"] = "Linux"
    assert TrialRun.of(_run(tags | ENDING.tags, "KILLED")) == TrialRun(
        trial_id="t",
        run_id="r",
        name="a trial",
        status="KILLED",
        began_ms=1000,
        ended_ms=2000,
        params={"alpha": "0.1"},
        figures={"elapsed_s": 2.0},
        host={"os": "Linux"},
        place=7,
        repeat=2,
        diverged=False,
        converged=True,
        feasible=False,
        stopped_by=BY_CRITERIA,
        stop_how="crossed",
        stop_reason=ENDING.reason,
        stop_metric="elapsed_s",
        stop_step=120,
    )


def test_what_a_run_does_not_say_is_none() -> None:
    """As of a trial by another script, which then has its run's id; it neither diverged nor is a repetition."""
    trial = TrialRun.of(_run({}))
    assert (trial.trial_id, trial.repeat, trial.diverged, trial.converged) == ("r", 0, False, False)
    unknown = (trial.place, trial.feasible, trial.stopped_by, trial.stop_how, trial.stop_reason, trial.stop_metric)
    assert {*unknown, trial.stop_step} == {None}
