"""Trials' processes, watched where they are: on made-up nodes, and on a real cluster with and without the package."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from defect_table import OURS
from observations import Observations, Observed, observe

from mlflow_sysmetrics.host import Host
from mlflow_sysmetrics.ray_tune import trial_watches
from mlflow_sysmetrics.ray_tune.node_watches import NOTHING, LetGo
from mlflow_sysmetrics.ray_tune.trial_watches import TrialWatches
from mlflow_sysmetrics.tags import HOST_PREFIX, NODE

LIMIT_S = 10.0
GONE = {"sysmetrics.cause_of_death": "its process was gone"}
FIRST = LetGo([], {"elapsed_s": 10.0, "cpu_seconds": 10.0, "peak_memory_mb": 300.0}, GONE)
SECOND = LetGo([], {"elapsed_s": 30.0, "cpu_seconds": 10.0, "peak_memory_mb": 200.0}, {})
BOTH = {"elapsed_s": 40.0, "cpu_seconds": 20.0, "mean_cpu_percent": 50.0, "peak_memory_mb": 300.0}
NO_ANSWER = ConnectionError("the node has died")
Make = Callable[..., TrialWatches]


def answer(value: Any) -> Future[Any]:
    """One that is there, or a failure."""
    future: Future[Any] = Future()
    if isinstance(value, Exception):
        future.set_exception(value)
    else:
        future.set_result(value)
    return future


def watch(watched: TrialWatches, node: str = "node") -> None:
    """Measurement the process of trial "t", which is on a node."""
    located = SimpleNamespace(future=lambda: answer((node, f"host of {node}", 7)))
    watched.watch("t", SimpleNamespace(__ray_call__=SimpleNamespace(remote=lambda call: located)))


@pytest.fixture
def make() -> Iterator[Make]:
    """Measurement on a node that gives these answers when processes are let go, in turn."""
    made: list[TrialWatches] = []

    def make_one(*answers: Any) -> TrialWatches:
        left = iter(answers)

        def ask(method: str, *arguments: Any) -> Future[Any]:
            value = next(left) if method == "stop" else None
            return value if isinstance(value, Future) else answer(value)

        made.append(TrialWatches(("process",), 0.1, lambda *logged: None, lambda *node: ask))
        made[-1].start()
        return made[-1]

    yield make_one
    for each in made:
        each.close(LIMIT_S)


def release(watched: TrialWatches) -> queue.SimpleQueue[tuple[dict[str, float], Mapping[str, str]]]:
    """What trial "t" comes to."""
    told: queue.SimpleQueue[Any] = queue.SimpleQueue()
    watched.release("t", lambda figures, death: told.put((figures, death)))
    return told


@pytest.mark.parametrize("pauses", [True, False], ids=["paused", "repeated"])
@pytest.mark.parametrize(
    ("answers", "figures"),
    [
        pytest.param([FIRST, SECOND], BOTH, id="both are known"),
        pytest.param([NOTHING, SECOND], SECOND.figures | {"mean_cpu_percent": 100 / 3}, id="the first died at once"),
        pytest.param([NO_ANSWER, SECOND], {}, id="the first is lost with its node"),
    ],
)
def test_figures_are_of_all_processes_that_a_trial_has_had(
    make: Make, answers: list[Any], figures: dict[str, float], pauses: bool
) -> None:
    """After a pause, and where it begins again. What is not known of one of them is not told of the trial."""
    watched = make(*answers)
    watch(watched)
    if pauses:
        watched.pause("t")
        watched.pause("t")
    watch(watched)
    assert release(watched).get(timeout=LIMIT_S) == (pytest.approx(figures), {})


def test_trial_that_is_dropped_while_paused_has_the_figures_of_the_time_before(make: Make) -> None:
    """However late its node's answer comes. One that was never watched has none."""
    late: Future[Any] = Future()
    watched = make(late)
    watch(watched)
    watched.pause("t")
    told = release(watched)
    late.set_result(FIRST)
    assert told.get(timeout=LIMIT_S) == (FIRST.figures | {"mean_cpu_percent": 100.0}, GONE)
    assert release(watched).get(timeout=LIMIT_S) == ({}, {})


def test_first_release_of_a_trial_counts(make: Make) -> None:
    """The end of an experiment releases all, also one that has just ended by itself and whose node has not answered."""
    late: Future[Any] = Future()
    watched = make(late)
    watch(watched)
    told, again = release(watched), release(watched)
    late.set_result(FIRST)
    assert told.get(timeout=LIMIT_S)[0]["elapsed_s"] == FIRST.figures["elapsed_s"]
    watched.close(LIMIT_S)
    assert again.empty()


def test_node_that_does_not_answer_at_the_end_is_not_waited_for(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits is told that nothing is known."""
    monkeypatch.setattr(trial_watches, "LAST_ANSWERS_S", 0.1)
    watched = make(Future())
    watch(watched)
    told = release(watched)
    watched.close(LIMIT_S)
    assert told.get(timeout=LIMIT_S) == ({}, {})


@pytest.mark.parametrize(
    ("answers", "facts"),
    [
        pytest.param(["a"], {"cpu_model": "A", "gpus": "H100"}, id="one node"),
        pytest.param(["a", "b"], {"cpu_model": "B", "gpus": "unknown"}, id="goes on elsewhere"),
        pytest.param(["late", "b"], {"cpu_model": "B"}, id="the first answers after it has gone on elsewhere"),
        pytest.param(["a", "silent"], {"cpu_model": "unknown", "gpus": "unknown"}, id="the other does not answer"),
    ],
)
def test_trial_is_tagged_with_the_host_that_it_is_on(answers: list[str], facts: dict[str, str]) -> None:
    """With the last one, where it had several; of that, nothing that is known of an earlier one alone."""
    late: Future[Any] = Future()
    host_a, host_b = {"cpu_model": "A", "gpus": "H100"}, {"cpu_model": "B"}
    starts: dict[str, Future[Any]] = {
        "a": answer({HOST_PREFIX + name: value for name, value in host_a.items()}),
        "b": answer({HOST_PREFIX + name: value for name, value in host_b.items()}),
        "late": late,
        "silent": answer(NO_ANSWER),
    }
    tags: dict[str, str] = {}
    logged: queue.SimpleQueue[Mapping[str, str]] = queue.SimpleQueue()

    def ask(node: str, *about: Any) -> Callable[..., Future[Any]]:
        others = {"stop": NOTHING, "drain": {}}
        return lambda method, *arguments: starts[node] if method == "start" else answer(others[method])

    watched = TrialWatches(("process",), 0.1, lambda key, points, more: logged.put(more), ask)
    watched.start()
    for node in answers:
        watch(watched, node)
        while node != "late" and tags.get(NODE) != f"host of {node}":
            tags |= logged.get(timeout=LIMIT_S)
    late.set_result({HOST_PREFIX + "cpu_model": "late"})
    watched.close(LIMIT_S)
    while not logged.empty():
        tags |= logged.get()
    assert {name.removeprefix(HOST_PREFIX): tag for name, tag in tags.items() if name.startswith(HOST_PREFIX)} == facts
    assert tags[NODE] == f"host of {answers[-1]}"


@pytest.fixture(scope="module")
def observed(new_store: Path) -> Observations:
    """What is seen of a process here and of one on a node that dies."""
    return observe("watched_nodes.py", OURS, str(new_store / "mlflow.db"))


@pytest.fixture
def with_package(observed: Observations) -> Observed:
    """Where the package is on both nodes."""
    assert "broken" not in observed["nodes_with_the_package"], observed
    return observed["nodes_with_the_package"]


@pytest.fixture
def without_package(observed: Observations) -> Observed:
    """Where it is here alone."""
    assert "broken" not in observed["nodes_without_the_package"], observed
    return observed["nodes_without_the_package"]


@pytest.mark.slow
def test_process_on_another_node_is_read_there(with_package: Observed) -> None:
    """Each has its series, the host, what is known of that, and the pid."""
    assert with_package["nodes"] == 2
    assert with_package["points"]["here"] > 0
    assert with_package["points"]["there"] > 0
    assert with_package["hosts"] == {"here": True, "there": True}
    assert with_package["facts"] == {"here": Host().tags(), "there": Host().tags()}  # both are on this machine


@pytest.mark.slow
def test_node_that_dies_is_said_and_holds_nobody_up(with_package: Observed) -> None:
    """Its process ends without figures, and at once; the other has all of them."""
    (warning,) = with_package["warnings"]
    assert "does not answer" in warning
    assert with_package["ended"] == {"here": True, "there": True}
    assert with_package["figures"]["there"] == {}
    assert {"elapsed_s", "peak_memory_mb", "memory_growth_mb"} <= with_package["figures"]["here"].keys()


@pytest.mark.slow
def test_node_without_the_package_is_told_how_to_get_it(without_package: Observed) -> None:
    """Nothing of its process is read; it has its host and pid, and the one here all."""
    (warning,) = without_package["warnings"]
    assert "runtime_env={'py_modules': [mlflow_sysmetrics]}" in warning
    assert without_package["points"].get("there", 0) == 0
    assert without_package["hosts"] == {"here": True, "there": True}
    assert without_package["facts"] == {"here": Host().tags(), "there": {}}
    assert without_package["ended"] == {"here": True, "there": True}
    assert "peak_memory_mb" in without_package["figures"]["here"]
