"""CPU and memory of a process over time, with its phases shaded."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from mlflow import MlflowClient

from mlflow_sysmetrics.phases.course import Moment
from mlflow_sysmetrics.phases.totals import Phases, Stretch

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NAME = "phases.png"
_EQUAL = 0.99  # of the longest phase: as long
_COLOURS = ("#4c78a8", "#f58518", "#54a24b", "#b279a2", "#e45756", "#72b7b2", "#9d755d", "#bab0ac")


def draw(moments: Sequence[Moment], stretches: Sequence[Stretch], elapsed_s: Mapping[str, float]) -> Figure:
    """A figure of two panels, seconds on the x axis. ImportError without matplotlib.

    `elapsed_s` is of each phase: the stretches may not be all, and go by a clock that may be set meanwhile. A moment
    holds the mean since the one before it, and so it is drawn: as a level that ends there.
    """
    from matplotlib.figure import Figure

    began = min([moment.unix_s for moment in moments] + [stretch.began for stretch in stretches])
    seconds = [moment.unix_s - began for moment in moments]
    figure = Figure(figsize=(10, 5), layout="constrained")
    cpu, memory = figure.subplots(2, 1, sharex=True)
    names = list(dict.fromkeys(stretch.name for stretch in sorted(stretches, key=lambda each: each.began)))
    colours = {name: _COLOURS[number % len(_COLOURS)] for number, name in enumerate(names)}
    for panel, label, values in (
        (cpu, "CPU, % of one core", [moment.cpu_percent for moment in moments]),
        (memory, "memory, MB", [moment.memory_mb for moment in moments]),
    ):
        told = set[str]()
        for stretch in stretches:
            shown = None if stretch.name in told else stretch.name
            told.add(stretch.name)
            panel.axvspan(
                stretch.began - began, stretch.ended - began, color=colours[stretch.name], alpha=0.25, label=shown, lw=0
            )
        levels = [math.nan if value is None else value for value in values]
        panel.plot(
            [0.0] * (len(levels) > 0) + seconds, levels[:1] + levels, drawstyle="steps-pre", color="#333333", lw=1
        )
        panel.set_ylabel(label)
        panel.set_ylim(bottom=0)
    memory.set_xlabel("seconds since the first phase")
    cpu.set_title(_title(elapsed_s), loc="left", fontsize="medium")
    if names:
        cpu.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    return figure


def log_figure(tracking_uri: str, run_id: str, moments: Sequence[Moment], phases: Phases, name: str = NAME) -> None:
    """Draw it, and log it as an artifact of a run. No-op without matplotlib."""
    try:
        figure = draw(moments, phases.stretches(), phases.elapsed_s())
    except ImportError:
        return
    MlflowClient(tracking_uri).log_figure(run_id, figure, name)


def _title(elapsed_s: Mapping[str, float]) -> str:
    """The message: which phase took longest."""
    if not elapsed_s:
        return "CPU and memory over time"
    longest_s = max(elapsed_s.values())
    names = [name for name, seconds in elapsed_s.items() if seconds > longest_s * _EQUAL]
    if len(names) == 1:
        return f"The longest phase is {names[0]}: {longest_s:.3g} s"
    return f"The longest phases are {', '.join(names[:-1])} and {names[-1]}: {longest_s:.3g} s each"
