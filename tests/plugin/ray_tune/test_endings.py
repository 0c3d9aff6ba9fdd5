"""How a trial ended, as far as it can be told from Tune's side."""

from concurrent.futures import Future
from types import SimpleNamespace

from cases import cases, tables
from ray import cloudpickle
from ray.exceptions import ActorDiedError, RayTaskError

from mlflow_sysmetrics.ray_tune import error_line
from mlflow_sysmetrics.ray_tune.endings import known_outcome, outcome_by_state, process_died

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
