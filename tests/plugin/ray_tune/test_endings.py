"""How a trial ended, as far as it can be told from Tune's side."""

from types import SimpleNamespace

import pytest
from ray import cloudpickle
from ray.exceptions import ActorDiedError, RayTaskError

from mlflow_sysmetrics.ray_tune import error_line
from mlflow_sysmetrics.ray_tune.endings import known_outcome, process_died
from mlflow_sysmetrics.tags import STOP_REASON, STOPPED_BY


def trial(status="RUNNING", planned=False):
    """The part of one of Tune's that is looked at."""
    return SimpleNamespace(status=status, should_stop=lambda result: planned)


@pytest.mark.parametrize(
    ("of", "done", "status"),
    [
        pytest.param(trial(planned=True), True, "FINISHED", id="planned-end"),
        pytest.param(trial("PAUSED"), False, "KILLED", id="dropped-paused"),
        pytest.param(trial(), False, "KILLED", id="dropped-saving"),
        pytest.param(trial(), True, None, id="only-the-trainable-knows"),
    ],
)
def test_end_is_told_from_the_last_result(of, done, status):
    """Whose word the end was: the plan's or a scheduler's. `test_callback` and `test_sweeps` have the trial's own."""
    end = known_outcome(of, {"training_iteration": 3, "loss": 1.0, "done": done})
    assert (end and end.status) == status
    if status == "KILLED":
        assert end.tags == {STOPPED_BY: "tune", STOP_REASON: "Tune ended it at iteration 3"}


def raised(words):
    """What a trial's own code has raised, as it comes from its process."""
    return RayTaskError("train", f"Traceback: {words}", ValueError(words), "ray::train", 7, "127.0.0.1")


@pytest.mark.parametrize(
    ("error", "died"),
    [
        pytest.param(ActorDiedError(), True, id="died"),
        pytest.param(raised("The actor is dead").as_instanceof_cause(), False, id="raised"),
        pytest.param(ActorDiedError(raised("The actor is dead")), False, id="raised in setup"),
        pytest.param(None, False, id="not kept"),
    ],
)
def test_process_has_died_by_the_class_of_what_tune_has_kept(error, died, tmp_path):
    """Whatever the words of a trial's own error are."""
    if error is not None:
        (tmp_path / "error.pkl").write_bytes(cloudpickle.dumps(error))
    kept = SimpleNamespace(pickled_error_file=str(tmp_path / "error.pkl"))
    assert process_died(kept) == died


@pytest.mark.parametrize(
    ("traceback", "line"),
    [
        pytest.param("Error: x\nIt died. Some common causes include: (1) a\n", "It died.", id="without-guesses"),
        pytest.param("It died.\n\tclass_name: X\n\tactor_id: 1\n", "It died.", id="without-details"),
        pytest.param("E: http://me:hush42@there", "E: http://there", id="without-a-password"),
        pytest.param(None, "unknown error", id="none"),
    ],
)
def test_error_line_is_the_exception_and_its_message(traceback, line, tmp_path):
    """The end of the traceback."""
    file = tmp_path / "error.txt"
    if traceback is not None:
        file.write_text(traceback)
    kept = SimpleNamespace(error_file=str(file) if traceback else None)
    assert error_line(kept) == line
