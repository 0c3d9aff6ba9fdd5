"""The stop button under Tune: somebody sets the tag of a trial's run, or of the run around all trials."""

import threading

import pytest
from commands import runs_of_kind, wait_until
from machines import meanwhile
from tune_sweeps import trainables, tuner

from mlflow_sysmetrics.delivery import writer_for
from mlflow_sysmetrics.limits import stop_tag
from mlflow_sysmetrics.ray_tune import SystemMetricsCallback
from mlflow_sysmetrics.recording.tags import BY_PERSON, CAUSE_OF_DEATH, STOP_REASON, STOP_REQUEST, STOPPED_BY

LIMIT_S = 300.0
LONG = {"steps": 450, "step_s": 0.1}


@pytest.fixture(autouse=True)
def quick(local_ray, store_in_use, monkeypatch):
    """The store is asked and told more often than every two seconds."""
    monkeypatch.setattr(stop_tag, "ASK_EVERY_S", 0.1)
    monkeypatch.setattr(writer_for(store_in_use.tracking_uri), "ask_every_s", 0.1)


def run_and_tag(client, kind, cases):
    """Run trials of a function, one after the other; set the tag of the first run of this kind once one reports.

    In a thread, as a service does, where Tune hears no signal.
    """
    tuning = {"reuse_actors": True}
    sweep = tuner([SystemMetricsCallback()], cases, trainable=trainables()["function"], tuning=tuning)
    with meanwhile(sweep.fit):
        wait_until(lambda: any("loss" in run.data.metrics for run in runs_of_kind(client, "trial")), LIMIT_S, "results")
        client.set_tag(runs_of_kind(client, kind)[-1].info.run_id, STOP_REQUEST, "enough")


def test_trial_is_ended_by_the_tag_of_its_run(store_in_use):
    """As a scheduler would, before its own end; the next trial runs to its end. Another study's tag stays."""
    others = store_in_use.create_run("0", tags={STOP_REQUEST: "enough"})
    run_and_tag(store_in_use, "trial", [LONG, {"steps": 2}])
    other, stopped = runs_of_kind(store_in_use, "trial")
    assert (stopped.info.status, other.info.status) == ("KILLED", "FINISHED")
    assert stopped.data.tags[STOPPED_BY] == BY_PERSON
    assert stopped.data.tags[STOP_REASON] == "the tag sysmetrics.stop was set to 'enough'"
    assert STOP_REQUEST not in stopped.data.tags
    assert runs_of_kind(store_in_use, "study")[0].info.status == "FINISHED"
    assert store_in_use.get_run(others.info.run_id).data.tags[STOP_REQUEST] == "enough"
    asking = "mlflow-sysmetrics-stop tag"  # which would end what the script does next
    wait_until(lambda: all(each.name != asking for each in threading.enumerate()), LIMIT_S, "the end of its thread")


def test_experiment_is_ended_by_the_tag_of_the_run_around_its_trials(store_in_use):
    """By Tune: no run is left RUNNING, and no trial begins any more."""
    run_and_tag(store_in_use, "study", [LONG, LONG])
    (study,) = runs_of_kind(store_in_use, "study")
    assert study.info.status == "KILLED"
    assert study.data.tags[STOPPED_BY] == BY_PERSON
    (trial,) = runs_of_kind(store_in_use, "trial")  # the other did not begin
    assert trial.info.status == "KILLED"
    assert "elapsed_s" in trial.data.metrics
    assert CAUSE_OF_DEATH not in trial.data.tags  # Tune ended its process
