"""The figure of phases: what is drawn, by its data."""

from __future__ import annotations

import sys
import time

import pytest
from mlflow import MlflowClient

from mlflow_sysmetrics.phases.course import Moment
from mlflow_sysmetrics.phases.figure import NAME, draw, log_figure
from mlflow_sysmetrics.phases.totals import Phases, Stretch

MOMENTS = [Moment(100.0 + second, 10.0 * second, 50.0 + second) for second in range(6)]
STRETCHES = [Stretch("load", 100.0, 101.5), Stretch("train", 101.5, 104.0), Stretch("load", 104.0, 105.0)]
ELAPSED_S = {"load": 2.5, "train": 2.5}


def phases() -> Phases:
    """Phases, of which one is over."""
    made = Phases(time.monotonic, lambda: None)
    with made.phase("load"):
        pass
    return made


def test_phases_are_shaded_over_cpu_and_memory() -> None:
    """Seconds since the first began; each name once in the legend, in the order of time; the longest in the title."""
    figure = draw(MOMENTS, STRETCHES, ELAPSED_S)
    cpu, memory = figure.axes
    assert list(cpu.lines[0].get_xdata()) == [0, 0, 1, 2, 3, 4, 5]
    assert list(cpu.lines[0].get_ydata()) == [0, 0, 10, 20, 30, 40, 50]
    assert list(memory.lines[0].get_ydata()) == [50, 50, 51, 52, 53, 54, 55]
    assert [text.get_text() for text in cpu.get_legend().get_texts()] == ["load", "train"]
    spans = [(patch.get_x(), patch.get_x() + patch.get_width()) for patch in cpu.patches]
    assert sum(spans, ()) == pytest.approx((0, 1.5, 1.5, 4, 4, 5))
    assert cpu.get_title(loc="left") == "The longest phases are load and train: 2.5 s each"
    assert (cpu.get_ylabel(), memory.get_ylabel()) == ("CPU, % of one core", "memory, MB")
    assert memory.get_xlabel() == "seconds since the first phase"


def test_longest_phase_is_that_of_the_figures() -> None:
    """Where a clock was set, or a computer slept, stretches of unix time say something else."""
    title = draw([], [Stretch("load", 0.0, 28_900.0)], {"load": 60.0, "train": 0.5}).axes[0].get_title(loc="left")
    assert title == "The longest phase is load: 60 s"


def test_a_single_moment_is_a_level_from_the_beginning() -> None:
    """A program of half a second has no other; a line of one point is not seen."""
    panels = draw([Moment(0.5, 80.0, 9.0)], [Stretch("all", 0.0, 0.5)], {"all": 0.5}).axes
    drawn = [(list(panel.lines[0].get_xdata()), list(panel.lines[0].get_ydata())) for panel in panels]
    assert drawn == [([0, 0.5], [80, 80]), ([0, 0.5], [9, 9])]
    assert {panel.lines[0].get_drawstyle() for panel in panels} == {"steps-pre"}
    assert all(not len(panel.lines[0].get_xdata()) for panel in draw([], [Stretch("all", 0.0, 0.5)], {"all": 0.5}).axes)


def test_what_could_not_be_read_is_a_gap() -> None:
    """And no zero."""
    figure = draw([Moment(0.0, None, 1.0), Moment(1.0, 5.0, None)], [Stretch("a", 0.0, 1.0)], {"a": 1.0})
    (cpu, memory) = figure.axes
    assert list(map(str, cpu.lines[0].get_ydata())) == ["nan", "nan", "5.0"]
    assert list(map(str, memory.lines[0].get_ydata())) == ["1.0", "1.0", "nan"]


def test_figure_is_an_artifact_of_the_run(client: MlflowClient) -> None:
    """Where the UI shows it."""
    run = client.create_run("1")
    log_figure(client.tracking_uri, run.info.run_id, MOMENTS, phases())
    assert [artifact.path for artifact in client.list_artifacts(run.info.run_id)] == [NAME]


def test_without_matplotlib_there_is_no_figure(client: MlflowClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """The plugin does not need it: the figures are in the run all the same."""
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    run = client.create_run("1")
    log_figure(client.tracking_uri, run.info.run_id, MOMENTS, phases())
    assert client.list_artifacts(run.info.run_id) == []
