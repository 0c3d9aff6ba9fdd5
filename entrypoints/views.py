"""The pages of a study in the MLflow UI, named so that a person chooses right from the menu *Views*."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from statistics import quantiles

from entrypoints.tags import CRITERIA, DIVERGED, FEASIBLE
from mlflow_sysmetrics.tags import BY_CRITERIA, KIND, STOP_REASON, STOPPED_BY
from mlflow_sysmetrics.ui import FIRST, Page, Section, bars, lines, metric, parallel, param, scatter, tag, trials_of

SCORE, TABLE, TRAINING, LIMITS, STOPPED = FIRST, "table", "training", "limits", "stopped"
STUDIES, REPORTS = "studies", "reports"
EXPERIMENT = "all"  # whose views the last two are
COSTS = (
    "training_time_s",
    "mean_step_time_ms",
    "cpu_seconds",
    "mean_cpu_percent",
    "peak_memory_mb",
    "model_memory_mb",
    "inference_latency_ms",
    "peak_gpu_memory_mb",
)
_TIME, _LATENCY = "training_time_s", "inference_latency_ms"
_ONE_MODEL, _PROCESS = "model_memory_mb", "peak_memory_mb"
_SEEN_MB = 1.0  # below it one model's memory is nothing to compare
_MIN_TRIALS = 8  # of fewer none can be told to be far worse
_CURVES = ("cpu_percent", "step_time_ms", "memory_mb")


@dataclass(frozen=True)
class StudyFacts:
    """The facts about a study that its pages need.

    Args:
        run_id: the study's run.
        name: of its dataset.
        start: of the study, in unix seconds.
        score: the metric by which trials are compared, such as ``val_rmse``.
        ascending: whether its lowest value is the best.
        searched: the names of its hyperparameters.
        figures: of each trial that has some.
        limits: by metric the limits on it, in words; empty without limits.
    """

    run_id: str
    name: str
    start: float
    score: str
    ascending: bool
    searched: tuple[str, ...]
    figures: tuple[Mapping[str, float], ...] = ()
    limits: Mapping[str, str] | None = None

    @property
    def title(self) -> str:
        """Which study it is, in words."""
        return f"{self.name} {time.strftime('%d %b %H:%M', time.localtime(self.start))}"

    @property
    def trials(self) -> str:
        """All its trials, as a condition of MLflow's search."""
        return trials_of(self.run_id)

    @property
    def memory(self) -> str:
        """The memory that tells its trials apart: of one model, or of the process where models are small."""
        return _ONE_MODEL if max(self._of(_ONE_MODEL), default=0.0) >= _SEEN_MB else _PROCESS

    @property
    def costs(self) -> list[str]:
        """The costs that its trials have."""
        return [name for name in COSTS if self._of(name)]

    @property
    def fence(self) -> float | None:
        """The score beyond which a trial is far worse than most; None where there is no such trial.

        Tukey's outer fence: three times the distance between the quartiles beyond the worse of them.
        """
        scores = sorted(value if self.ascending else -value for value in self._of(self.score))
        if len(scores) < _MIN_TRIALS:
            return None
        lower, _, upper = quantiles(scores, n=4)
        fence = upper + 3 * (upper - lower)
        if upper == lower or scores[-1] <= fence:
            return None
        return fence if self.ascending else -fence

    def _of(self, name: str) -> list[float]:
        return [figures[name] for figures in self.figures if name in figures]


def of_study(shown: StudyFacts) -> dict[str, Page]:
    """The pages of a study's trials, without those that would spoil an axis: that diverged, or are far worse."""
    able = f"{shown.trials} and tags.`{DIVERGED}` = 'false'"
    near, fence = able, shown.fence
    if fence is not None:
        near += f" and metrics.`{shown.score}` {'<=' if shown.ascending else '>='} {_plain(fence)}"
    costs = [_TIME, shown.memory, _LATENCY]
    against = [
        Section("Score against cost", [scatter(name, shown.score) for name in costs]),
        Section("Hyperparameters, costs and score", [parallel(shown.searched, [*costs, shown.score])], columns=1),
    ]
    why = [tag(STOP_REASON)] if shown.limits else []
    columns = [*map(param, shown.searched), metric(shown.score), *map(metric, shown.costs), *why]
    best = f"{able} and attributes.status = 'FINISHED'"
    said = "score against cost" if fence is None else "score against cost, without the far worse"
    pages = {
        SCORE: Page(f"{shown.title} · {said}", near, columns=columns, sections=against),
        TABLE: Page(f"{shown.title} · table", shown.trials, "TABLE", columns=columns, sections=against),
        TRAINING: Page(
            f"{shown.title} · during training, the ten best",
            best, columns=columns, sections=_training(shown), all_runs=False,
        ),
    }  # fmt: skip
    if shown.limits:
        limited = [
            tag(FEASIBLE),
            *why,
            *map(metric, dict.fromkeys([shown.score, *shown.limits])),
            *map(param, shown.searched),
        ]
        limits = [Section(", ".join(shown.limits.values()), [bars(name) for name in shown.limits], columns=2)]
        stopped = f"{shown.trials} and tags.`{STOPPED_BY}` = '{BY_CRITERIA}'"
        pages |= {
            LIMITS: Page(f"{shown.title} · within the limits", shown.trials, "TABLE", columns=limited, sections=limits),
            STOPPED: Page(
                f"{shown.title} · what was stopped, and why",
                stopped, "TABLE", columns=limited, sections=_training(shown, log=shown.ascending), all_runs=False,
            ),
        }  # fmt: skip
    about = {"sort_by": shown.score, "ascending": shown.ascending, "wide": why}
    return {word: replace(page, **about) for word, page in pages.items()}  # type: ignore[arg-type]


def of_experiment() -> dict[str, Page]:
    """The pages over all studies of an experiment. Sorted by a metric: else the UI folds those of ``main`` away."""
    costs = ("refit_training_time_s", "refit_memory_growth_mb", "refit_latency_ms")
    figures = ["best_val_rmse", "best_val_accuracy", *costs, "search_time_s", "trials", "feasible", "saved_cpu_percent"]
    limits = tag(CRITERIA)
    columns = [param("dataset"), *map(metric, figures), limits]
    return {
        STUDIES: Page(
            "All studies", f"tags.`{KIND}` = 'study'", "TABLE", "search_time_s", columns=columns, wide=[limits]
        ),
        REPORTS: Page("Reports", f"tags.`{KIND}` = 'report'", "TABLE", "trials", columns=["attributes.`Description`"]),
    }


def _plain(number: float) -> str:
    """All its digits, without an exponent, which MLflow's search cannot read."""
    return f"{Decimal(repr(number)):f}"


def _training(shown: StudyFacts, log: bool = False) -> list[Section]:
    """The curves of trials; `log` for errors of trials that may be stopped on their way to infinity."""
    over_time = lines(shown.score, log=log, against=_TIME)
    score = [lines(shown.score, log=log), lines("val_loss", log=True), over_time]
    return [
        Section("Score during training", score),
        Section("Costs during training", [lines(each) for each in _CURVES]),
    ]
