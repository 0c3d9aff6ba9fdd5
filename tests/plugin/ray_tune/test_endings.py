"""How a trial ended, as far as it can be told from Tune's side, and as its trainable tells it."""

from __future__ import annotations

from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray import cloudpickle, tune
from ray.exceptions import ActorDiedError, RayActorError, RayTaskError
from ray.tune.trainable.function_trainable import wrap_function

from mlflow_sysmetrics.ray_tune import STOP_KEY, payload
from mlflow_sysmetrics.ray_tune.endings import FINISHED, ending_by, failure, known_ending
from mlflow_sysmetrics.tags import CAUSE_OF_DEATH, STOP_REASON, STOPPED_BY

FUNCTION = wrap_function(lambda config: None)
BY_TUNE = {STOPPED_BY: "tune", STOP_REASON: "Tune ended it at iteration 3"}
RESULT = {"training_iteration": 3, "loss": 1.0, "done": True}


def trial(kind: type[tune.Trainable], status: str = "RUNNING", planned: bool = False) -> Any:
    """The part of one of Tune's that is looked at."""
    return SimpleNamespace(
        status=status,
        get_trainable_cls=lambda: kind,
        should_stop=lambda result: planned,
        run_metadata=SimpleNamespace(last_result=RESULT),
    )


@pytest.mark.parametrize(
    ("of", "more", "told", "status", "tags"),
    [
        pytest.param(trial(FUNCTION), {}, False, "FINISHED", {}, id="function-returned"),
        pytest.param(trial(FUNCTION, planned=True), {}, True, "FINISHED", {}, id="planned-end"),
        pytest.param(trial(tune.Trainable, planned=True), {}, True, "FINISHED", {}, id="planned-end-of-a-class"),
        pytest.param(trial(tune.Trainable, "PAUSED"), {"done": False}, False, "KILLED", BY_TUNE, id="dropped-paused"),
        pytest.param(trial(tune.Trainable), {"done": False}, False, "KILLED", BY_TUNE, id="dropped-saving"),
        pytest.param(trial(tune.Trainable), {STOP_KEY: {"a": "b"}}, True, "KILLED", {"a": "b"}, id="criterion"),
        pytest.param(trial(tune.Trainable), payload([], status="FINISHED"), True, "FINISHED", {}, id="says-it-ended"),
        pytest.param(trial(tune.Trainable), payload([]), True, "KILLED", BY_TUNE, id="says-it-has-not"),
        pytest.param(
            trial(tune.Trainable), payload([], status="KILLED"), True, "KILLED", {}, id="own-limit"
        ),
    ],
)  # fmt: skip
def test_ending_is_told_from_the_last_result(
    of: Any, more: dict[str, Any], told: bool, status: str, tags: dict[str, str]
) -> None:
    """Whose word the end was: the trial's, the plan's, a criterion's, or a scheduler's."""
    ending = known_ending(of, {**RESULT, **more}, told=told)
    assert ending is not None
    assert (ending.status, ending.tags) == (status, tags)


def test_function_that_returns_without_a_result_has_come_to_its_end() -> None:
    """Of its last result, Tune then has the trial's id alone."""
    assert known_ending(trial(FUNCTION), {"trial_id": "t1"}, told=False) is FINISHED


@pytest.mark.parametrize("kind", [tune.Trainable, FUNCTION], ids=["class", "function"])
@pytest.mark.parametrize(("done", "status"), [(True, "FINISHED"), (False, "KILLED")], ids=["itself", "tune"])
def test_trainable_whose_result_says_done_is_asked_whose_word_it_was(kind: Any, done: bool, status: str) -> None:
    """Tune puts the same word into a result when it ends a trial."""
    assert known_ending(trial(kind), RESULT, told=True) is None
    state: Future[Any] = Future()
    state.set_result({"last_result": {"done": done}})
    assert ending_by(trial(kind), state).status == status


def test_trainable_that_cannot_say_counts_as_finished() -> None:
    """Its process is gone."""
    state: Future[Any] = Future()
    state.set_exception(ConnectionError())
    assert ending_by(trial(tune.Trainable), state) is FINISHED


def raised(words: str) -> RayTaskError:
    """What a trial's own code has raised, as it comes from its process."""
    return RayTaskError("train", f"Traceback: {words}", ValueError(words), "ray::train", 7, "127.0.0.1")


@pytest.mark.parametrize(
    ("error", "died", "cause"),
    [
        pytest.param(ActorDiedError(), True, None, id="died"),
        pytest.param(
            RayActorError(error_msg="the node was running low on memory"), True, "Ray's memory monitor", id="memory"
        ),
        pytest.param(raised("my worker died").as_instanceof_cause(), False, None, id="raised"),
        pytest.param(raised("running low on memory").as_instanceof_cause(), False, None, id="raised of memory"),
        pytest.param(ActorDiedError(raised("The actor is dead")), False, None, id="raised in setup"),
        pytest.param(None, False, None, id="not kept"),
    ],
)
def test_process_has_died_by_the_class_of_what_tune_has_kept(
    error: Exception | None, died: bool, cause: str | None, tmp_path: Path
) -> None:
    """Whatever the words of a trial's own error are."""
    if error is not None:
        (tmp_path / "error.pkl").write_bytes(cloudpickle.dumps(error))
    (tmp_path / "error.txt").write_text("Failure # 1\nThe last line\n")
    kept = SimpleNamespace(pickled_error_file=str(tmp_path / "error.pkl"), error_file=str(tmp_path / "error.txt"))
    ending = failure(kept)  # type: ignore[arg-type]
    assert (ending.status, ending.process_died, ending.tags["sysmetrics.error"]) == ("FAILED", died, "The last line")
    assert (cause or "None") in str(ending.tags.get(CAUSE_OF_DEATH))
