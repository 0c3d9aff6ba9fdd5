"""All figures of a report."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import pytest
from figure_tables import (
    COSTS,
    HYPERPARAMETERS,
    by_criterion,
    cost_comparisons,
    curves,
    drift,
    effects,
    front,
    memory_jumps,
    ranks,
    rules,
    step_law,
    tradeoff,
    trials,
)
from matplotlib import pyplot
from matplotlib.figure import Figure

from entrypoints.reporting import figures

MANY = 5000
SECONDS = 15.0


@dataclass(frozen=True)
class Drawn:
    """Figures by name, the bytes of their files, the CPU seconds that they took, and the windows that were opened."""

    pictures: dict[str, Figure]
    sizes: dict[str, int]
    cpu_s: float
    windows: set[int]


def _drawings() -> dict[str, Callable[[], Any]]:
    """Every figure, of a study of 5,000 trials; curves are those of the 200 that a report reads."""
    table = trials(MANY)
    found = effects((metric, name, 0.5, 0.01) for metric in ("val_rmse", *COSTS) for name in HYPERPARAMETERS)
    walk = np.random.default_rng(0).uniform(1, 2, (200, 100)).cumsum(axis=1).tolist()
    names = ("train_loss", "val_loss", "val_rmse", "cpu_percent", "memory_mb", "step_time_ms")
    steps = curves(dict.fromkeys(names, walk)).assign(sd=0.1)
    sampled = curves(dict.fromkeys(("system/process_cpu_percent", "system/process_memory_mb"), walk), axis="seconds")
    both = pd.concat([steps, sampled])
    row = pd.Series({"metric": "val_rmse", "first": "rate", "second": "kind", "share_of_variance": 0.1})
    both_ranks = {"rank": np.arange(2 * MANY) % MANY + 1, "study": np.repeat(["a", "b"], MANY)}
    ranked = pd.DataFrame({"configuration": np.arange(2 * MANY) % MANY, "equal_in_all": False, **both_ranks})
    pairs = pd.DataFrame([{"first": "a", "second": "b", "spearman": 1.0, "configurations": MANY, "kendalls_w": 1.0}])
    choice = (table, front(table), "val_rmse", False, {"peak_memory_mb": 230.0}, "r0")
    return {
        "during_training": lambda: figures.during_training(both, drift(), *memory_jumps(**{"": 80})),
        "over_time": lambda: figures.over_time(both, drift()),
        "effect_sizes": lambda: figures.effect_sizes(found),
        "by_rate": lambda: figures.by_hyperparameter(table, found, "rate", ["val_rmse", *COSTS]),
        "by_layers": lambda: figures.by_hyperparameter(table, found, "layers", ["val_rmse", *COSTS]),
        "by_kind": lambda: figures.by_hyperparameter(table, found, "kind", ["val_rmse", *COSTS]),
        "interaction": lambda: figures.interaction(table, row),
        "step_law": lambda: figures.step_law(*step_law()),
        "savings": lambda: figures.savings(rules(), by_criterion(rules())),
        "tradeoff": lambda: figures.tradeoff(tradeoff()),
        "critical_difference": lambda: figures.critical_difference(ranks(list(range(1, 11)), 4.3), "a ranks best"),
        "ranks_agree": lambda: figures.ranks_agree(ranked, pairs),
        "cost_ratios": lambda: figures.cost_ratios(cost_comparisons()),
        "pareto": lambda: figures.pareto(*choice),
        "pareto_hover": lambda: figures.pareto_hover(*choice),
    }


@pytest.fixture(scope="module")
def drawn() -> Drawn:
    """All of them, each drawn once."""
    drawings = _drawings()
    windows = set(pyplot.get_fignums())
    began, pictures, sizes = time.process_time(), {}, {}
    sizes["pareto_hover"] = len(drawings.pop("pareto_hover")().to_html(include_plotlyjs=False))
    for name, draw in drawings.items():
        file = io.BytesIO()
        pictures[name] = draw()
        pictures[name].savefig(file)
        sizes[name] = len(file.getvalue())
    return Drawn(pictures, sizes, time.process_time() - began, set(pyplot.get_fignums()) - windows)


def test_all_figures_of_thousands_of_trials_are_drawn_in_seconds(drawn: Drawn) -> None:
    """Each is a picture of some kilobytes, or an HTML page."""
    for name, size in drawn.sizes.items():
        assert 10_000 < size < (2_000_000 if name == "pareto_hover" else 1_000_000), name
    assert drawn.cpu_s < SECONDS


def test_texts_of_figures_do_not_run_into_each_other(drawn: Drawn) -> None:
    """Tick labels beside each other, titles above panels, and what is below them."""
    for name, figure in drawn.pictures.items():
        figure.draw_without_rendering()
        for axes in figure.axes:
            shown = [text for text in axes.get_xticklabels() if text.get_text() and text.get_rotation() == 0]
            low, high = axes.get_window_extent().intervalx
            boxes = sorted(
                (box for text in shown if low - 1 <= (box := text.get_window_extent()).x0 + box.width / 2 <= high + 1),
                key=lambda box: box.x0,
            )
            for left, right in pairwise(boxes):
                assert left.x1 <= right.x0, f"{name}: {[text.get_text() for text in shown]}"
            heading = figure.texts[0].get_window_extent()  # the finding, which is written first
            assert axes.title.get_window_extent().y1 <= heading.y0 + 1 or not axes.title.get_text(), name


def test_texts_of_figures_are_large_enough(drawn: Drawn) -> None:
    """Ten points, of which an inch has 72 and a picture ten inches."""
    for name, figure in drawn.pictures.items():
        sizes = [text.get_fontsize() for axes in figure.axes for text in (*axes.texts, axes.xaxis.label, axes.title)]
        assert min(sizes) >= 10, name


def test_figures_leave_pyplot_alone(drawn: Drawn) -> None:
    """pyplot would keep each figure until the process ends."""
    assert drawn.windows == set()


def test_every_figure_says_what_it_takes() -> None:
    """All that a report draws is here."""
    assert set(figures.__all__) >= {"during_training", "effect_sizes", "savings", "critical_difference", "pareto"}
    for name in figures.__all__:
        assert getattr(figures, name).__doc__
