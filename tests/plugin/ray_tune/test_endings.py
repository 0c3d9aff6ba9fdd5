"""How a trial ended, as far as it can be told from Tune's side."""

import os
import signal
from concurrent.futures import Future
from contextlib import suppress
from types import SimpleNamespace
from unittest.mock import Mock

from cases import cases, tables
from ray import cloudpickle
from ray.exceptions import ActorDiedError, RayTaskError

from mlflow_sysmetrics.delivery import RunRef
from mlflow_sysmetrics.limits import Limits
from mlflow_sysmetrics.ray_tune import error_line
from mlflow_sysmetrics.ray_tune.endings import known_outcome, outcome_by_state, process_died
from mlflow_sysmetrics.ray_tune.runs import Experiment

CASES = tables(__file__, "cases.yaml")


@cases("status, planned, done, ended", CASES["ends as Tune knows them"])
def test_end_is_told_from_the_last_result(status, planned, done, ended):
    """Whose word the end was: the plan's or a scheduler's. `test_callback` and `test_sweeps` have the trial's own."""
    trial = SimpleNamespace(status=status, should_stop=lambda result: planned)
    end = known_outcome(trial, {"training_iteration": 3, "loss": 1.0, "done": done})
    assert (end and end.status) == ended


@cases("done, ended", [(True, "FINISHED"), (False, "KILLED")])
def test_trainable_tells_whether_it_came_to_its_end(done, ended):
    """Or Tune has ended it, as a scheduler does."""
    state = Future()
    state.set_result({"last_result": {"done": done}})
    assert outcome_by_state(state, {}).status == ended


def raised(words):
    """What a trial's own code has raised, as it comes from its process."""
    return RayTaskError("train", f"Traceback: {words}", ValueError(words), "ray::train", 7, "127.0.0.1")


@cases(
    "error, died",
    {
        "died": (ActorDiedError(), True),
        "raised": (raised("The actor is dead").as_instanceof_cause(), False),
        "raised in setup": (ActorDiedError(raised("The actor is dead")), False),
        "not kept": (None, False),
    },
)
def test_process_has_died_by_the_class_of_what_tune_has_kept(error, died, tmp_path):
    """Whatever the words of a trial's own error are."""
    if error is not None:
        (tmp_path / "error.pkl").write_bytes(cloudpickle.dumps(error))
    kept = SimpleNamespace(pickled_error_file=str(tmp_path / "error.pkl"))
    assert process_died(kept) == died


@cases("traceback, line", CASES["error lines"])
def test_error_line_is_the_exception_and_its_message(traceback, line, tmp_path):
    """The end of the traceback."""
    file = tmp_path / "error.txt"
    file.write_text(traceback)
    assert error_line(SimpleNamespace(error_file=str(file))) == line


class SilentNode(Future):
    """The place of a process that does not become known. There is a Ctrl-C while the end of the trial is waited for."""

    looks = -1_000_000

    def end(self):
        self.looks = 0

    def done(self):
        self.looks += 1
        if self.looks == 4:  # the first three may come before the wait
            os.kill(os.getpid(), signal.SIGINT)
        return False


def test_interrupt_while_last_readings_are_awaited_leaves_no_run_running(store_in_use):
    """Neither that of the trial nor the study's: what has not been read by then is left out."""
    experiment = Experiment(RunRef(store_in_use.tracking_uri, "0"), "study", {}, Limits(())).start()
    run = experiment.open(Mock(trial_id="one", experiment_dir_name="sweep"), "rate=1", {}, None)
    node = SilentNode()
    experiment.measure(run, node)
    node.end()
    with suppress(KeyboardInterrupt):
        experiment.close(60.0)
    assert [run.info.status for run in store_in_use.search_runs(["0"])] == ["KILLED", "KILLED"]
