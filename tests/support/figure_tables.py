"""Tables as a report logs them, made up, and what a drawn figure shows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from types import SimpleNamespace
from typing import Any

import matplotlib.colors
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from entrypoints.limits import pareto
from entrypoints.reporting.figures.style import BLACK, GREY, PALE, PALETTE
from entrypoints.reporting.savings.tables import NOTHING

COSTS = ("peak_memory_mb", "training_time_s", "inference_latency_ms")
HYPERPARAMETERS = ("rate", "layers", "kind")


def title(figure: Figure | None) -> str:
    """The finding, in one line."""
    assert figure is not None
    return " ".join(figure.get_suptitle().replace("\N{NO-BREAK SPACE}", " ").split())


def note(figure: Figure | None) -> str:
    """What stands below the panels, in one line."""
    assert figure is not None
    return " ".join(figure.get_supxlabel().split())


def texts(axes: Axes) -> list[str]:
    """What is written inside of a panel."""
    return [text.get_text() for text in axes.texts]


def ticks(axes: Axes, which: str) -> list[str]:
    """The tick labels of the x or y axis."""
    return [text.get_text() for text in (axes.get_xticklabels() if which == "x" else axes.get_yticklabels())]


def colors(figure: Figure) -> set[str]:
    """The colours of lines, bars and areas."""
    found: list[Any] = []
    for axes in figure.axes:
        found += [line.get_color() for line in axes.lines]
        found += [patch.get_facecolor() for patch in axes.patches]
        found += [color for each in axes.collections for color in each.get_facecolor()]  # type: ignore[attr-defined]
    return {matplotlib.colors.to_hex(color).upper() for color in found}


SAFE = {color.upper() for color in (*PALETTE, BLACK, GREY, PALE)}


def curves(values: dict[str, Sequence[Sequence[float]]], axis: str = "training step", group: str = "") -> pd.DataFrame:
    """Curves of trials, by metric: a sequence of values per trial, at 100, 200, ..."""
    rows = [
        (f"run {group}{trial}", group, metric, axis, 100.0 * (place + 1), value)
        for metric, trials in values.items()
        for trial, points in enumerate(trials)
        for place, value in enumerate(points)
    ]
    return pd.DataFrame(rows, columns=["run_id", "group", "metric", "axis", "at", "value"])


CHANGES = ("level", "change", "low", "high", "change_percent", "low_percent", "high_percent")


def drift(*rows: tuple[str, str, float], axis: str = "training step", group: str = "") -> pd.DataFrame:
    """Tests of drift: metric, verdict and change in percent; of a level of 200 in the metric's unit."""
    return pd.DataFrame(
        [
            {
                "axis": axis,
                "metric": metric,
                "group": group,
                "level": 200.0,
                "change": 2 * change,
                "low": 2 * change - 4,
                "high": 2 * change + 4,
                "change_percent": change,
                "low_percent": change - 2,
                "high_percent": change + 2,
                "p_holm": 0.01,
                "verdict": verdict,
            }
            for metric, verdict, change in rows
        ],
        columns=["axis", "metric", "group", *CHANGES, "p_holm", "verdict"],
    )


def memory_jumps(**with_jumps: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The jumps of memory of each group, of 90 trials each: how many have some, and the places of two."""
    rows = [
        {"group": group, "trials": 90, "with_jumps": count, "told": count > 1} for group, count in with_jumps.items()
    ]
    places = [{"group": group, "at": at} for group in with_jumps for at in (150.0, 250.0)]
    return pd.DataFrame(rows), pd.DataFrame(places)


def effects(rows: Iterable[tuple[str, str, float, float]]) -> pd.DataFrame:
    """Effect sizes of 54 trials: metric, hyperparameter, share of the variance and p-value."""
    table = pd.DataFrame(rows, columns=["metric", "hyperparameter", "share_of_variance", "p_holm"])
    return table.assign(trials=54, told=table["p_holm"] < 0.01, out_of_reach=False)


def trials(count: int = 60) -> pd.DataFrame:
    """Trials of a random search over numbers and words; every tenth diverged, every fifteenth was stopped."""
    random, place = np.random.default_rng(0), np.arange(count)
    table = pd.DataFrame(
        {
            "trial_id": [f"t{each}" for each in place],
            "run_id": [f"r{each}" for each in place],
            "name": [f"trial {each}" for each in place],
            "status": np.where(place % 15 == 1, "KILLED", "FINISHED"),
            "diverged": place % 10 == 3,
            "rate": 10 ** random.uniform(-4, 0, count),
            "layers": random.integers(1, 6, count),
            "kind": random.choice(["adam", "sgd", "lion"], count),
        }
    )
    table["val_rmse"] = 1 + (np.log10(table["rate"]) + 2) ** 2 / 10 + random.normal(0, 0.02, count)
    table["peak_memory_mb"] = 200 + 10 * table["layers"] + random.normal(0, 1, count)
    table["training_time_s"] = np.exp(table["layers"] + random.normal(0, 0.3, count))
    table["inference_latency_ms"] = 0.1 * table["layers"] + random.normal(0, 0.01, count)
    table.loc[table["diverged"], "val_rmse"] = 1e9
    return table


def ended(table: pd.DataFrame) -> pd.DataFrame:
    """The trials that a figure shows."""
    return table[(table["status"] == "FINISHED") & ~table["diverged"]]


def front(table: pd.DataFrame) -> pd.DataFrame:
    """The front of each cost."""
    return pd.DataFrame(pareto.front(ended(table).to_dict("records"), "val_rmse", COSTS, [], sign=1.0))


def rules(**changes: Any) -> pd.DataFrame:
    """What one study under limits saved, its replay, and two controls; a change is that of the real row."""
    columns = ["study", "rule", "kind", "saved_cpu_percent", "val_regret", "feasible_stopped", "feasible"]
    rows = [
        ("s", "median rule", "control", 35.0, 0.02, 21, 40),
        ("s", "peak_memory_mb<=200, predict=on", "real", 41.0, 0.0, 0, 40),
        ("s", "ASHA", "control", 62.0, float("nan"), 40, 40),
        ("s", "peak_memory_mb<=200, predict=on", "replayed", 44.0, 0.0012, 2, 40),
    ]
    table = pd.DataFrame(rows, columns=columns).assign(trials=108, of_trials=108)
    for column, value in changes.items():
        table.loc[table["kind"] == "real", column] = value
    return table


def by_criterion(table: pd.DataFrame, *idle: str) -> pd.DataFrame:
    """What ended trials under each limits of a table of rules; those of idle studies ended none."""
    rows = table[table["kind"] != "control"]
    ended = [NOTHING if study in idle else "peak_memory_mb<=200" for study in rows["study"]]
    return rows[["study", "rule", "kind"]].assign(criterion=ended)


def tradeoff(metric: str = "peak_memory_mb") -> pd.DataFrame:
    """Three limits, of which the first two cost nothing and the last is met by no trial, and one that costs."""
    rows = [
        (metric, 240.0, 40, 0.0, 0.0, 0.0),
        (metric, 230.0, 30, 30.0, 0.0, 0.0),
        (metric, 210.0, 8, 80.0, 0.05, 0.01),
        (metric, 200.0, 0, 95.0, float("nan"), float("nan")),
    ]
    columns = ["metric", "limit", "feasible", "saved_cpu_percent", "val_regret_all", "val_regret_feasible"]
    return pd.DataFrame(rows, columns=columns).assign(trials=108, of_trials=108)


def ranks(mean_rank: Sequence[float], critical: float, blocks: int = 5) -> Any:
    """Ranks of configurations a, b, ..., of which two differ where they are farther apart than critical."""
    ids = [chr(ord("a") + place) for place in range(len(mean_rank))]
    series = pd.Series(mean_rank, index=ids, dtype=float)
    apart = np.abs(np.subtract.outer(series.to_numpy(), series.to_numpy()))
    p_values = pd.DataFrame(np.where(apart > critical, 0.01, np.where(apart > 0, 0.5, 1.0)), index=ids, columns=ids)
    return SimpleNamespace(blocks=blocks, mean_rank=series, critical_difference=critical, nemenyi=p_values)


def cost_comparisons() -> pd.DataFrame:
    """Costs of studies b and c against a: one differs, one is not clear, two agree."""
    return pd.DataFrame(
        [
            {
                "figure": figure,
                "first": "a",
                "second": second,
                "configurations": n,
                "ratio": ratio,
                "low_90": 0.9 * ratio,
                "high_90": 1.1 * ratio,
                "noise_percent": 10.0,
                "verdict": verdict,
            }
            for figure, second, ratio, verdict, n in (
                ("peak_memory_mb", "b", 1.0, "agrees", 12),
                ("peak_memory_mb", "c", 1.0, "agrees", 11),
                ("elapsed_s", "b", 1.8, "more", 12),
                ("elapsed_s", "c", 1.0, "unclear", 11),
            )
        ]
    )


def step_law(*algorithms: str, fits: Sequence[bool] = (True,)) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The step times of 27 trials of each algorithm, and their laws."""
    law = {"call_ms": 0.31, "row_ms": 0.021, "per_1000_rows_ms": 21.0, "error": 0.03, "smallest": 8.0, "largest": 512.0}
    times = [
        {"algorithm": name, "batch_size": size, "trials": 9, "low": 0.9 * ms, "median": ms, "high": 1.2 * ms}
        for name in algorithms or ("",)
        for size, ms in ((8.0, 0.48), (64.0, 1.7), (512.0, 11.0))
    ]
    laws = [{"algorithm": name, "fits": each, **law} for name, each in zip(algorithms or ("",), fits, strict=True)]
    return pd.DataFrame(times), pd.DataFrame(laws)
