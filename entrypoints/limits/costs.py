"""The costs of a trial that limits can limit, and the limits that a user writes on them."""

from __future__ import annotations

from collections.abc import Collection

from entrypoints.compute import memory
from entrypoints.errors import UserError
from entrypoints.limits.grammar import Limits, RelativeLimit, TrialMetric
from entrypoints.models.scores import Score
from mlflow_gate.metrics import SERVED
from mlflow_sysmetrics.limits import Kind
from mlflow_sysmetrics.sampling import import_nvml, open_gpus

_COSTS = (
    TrialMetric("peak_memory_mb", Kind.GROWING),
    TrialMetric("memory_growth_mb", Kind.GROWING),
    TrialMetric("model_memory_mb", Kind.GROWING),
    TrialMetric("peak_gpu_memory_mb", Kind.GROWING),
    TrialMetric("training_time_s", Kind.GROWING),
    TrialMetric("elapsed_s", Kind.GROWING),
    TrialMetric("cpu_seconds", Kind.GROWING),
    TrialMetric("mean_step_time_ms", Kind.MEAN),
    TrialMetric("mean_cpu_percent", Kind.MEAN, higher_is_better=True),
    TrialMetric("inference_latency_ms", Kind.FACT),
    TrialMetric("inference_p99_ms", Kind.FACT),
    TrialMetric("rows_per_s", Kind.FACT, higher_is_better=True),
    TrialMetric("model_size_kb", Kind.FACT),
)
# Limits may name these, too. Reports test none of them: they follow a cost above, and each test weakens the others.
_BESIDE = (
    TrialMetric("user_cpu_seconds", Kind.GROWING),
    TrialMetric("system_cpu_seconds", Kind.GROWING),
    TrialMetric("peak_rss_mb", Kind.GROWING),
)
BESIDE = tuple(metric.name for metric in _BESIDE)
SYSTEM_FIGURES = tuple(metric.name for metric in _COSTS)
COSTS = tuple(metric.name for metric in _COSTS if not metric.higher_is_better)  # where less is better
# What an untrained model already shows. A 99th percentile is not one of them: it depends on how many rows it is of.
OF_UNTRAINED = ("inference_latency_ms", "model_size_kb")

_OF_GPU = "peak_gpu_memory_mb"

# How much one configuration's figure differs from run to run, as a share of it, until trials have shown it. Times on
# a shared machine differ by a tenth; a process that had other trials before differs by a few pages.
USUAL_NOISE = {metric.name: 0.1 for metric in (*_COSTS, *_BESIDE) if metric.name != "model_size_kb"} | {
    "system_cpu_seconds": 0.5,  # of a trial of a second, of which it is hundredths
    "peak_memory_mb": 0.01,
    "peak_rss_mb": 0.01,
    "peak_gpu_memory_mb": 0.01,
}


def compared(limits: Limits) -> list[str]:
    """The costs by which equally good models are compared, first those with an upper limit, then the training time."""
    limited = [limit.metric.name for limit in limits.rules if limit.is_upper]
    limited = [name for name in limited if name in (*COSTS, *BESIDE)]
    return [*limited, "training_time_s"]


def metrics(score: str, higher_is_better: bool) -> tuple[TrialMetric, ...]:
    """Everything that a limit can name, for trials that this score ranks."""
    curves = (
        TrialMetric("train_loss", Kind.CURVE),
        TrialMetric("val_loss", Kind.CURVE),
        TrialMetric(score, Kind.CURVE, higher_is_better=higher_is_better),
    )
    served = tuple(TrialMetric(name, Kind.FACT) for name in SERVED)
    return _COSTS + _BESIDE + curves + served


def of_trials(limits: Limits) -> Limits:
    """The limits that a trial is judged by."""
    return Limits(tuple(limit for limit in limits.rules if limit.metric.name not in SERVED))


def of_served(limits: Limits) -> Limits:
    """The limits that a finalist is judged by, once it is served."""
    return Limits(tuple(limit for limit in limits.rules if limit.metric.name in SERVED))


def unreadable(names: Collection[str], *, here: bool = True) -> list[str]:
    """Those of these metrics that this machine cannot read.

    Args:
        names: of metrics.
        here: whether trials run on this machine alone; others may have other devices.
    """
    absent = set() if memory.raised(lambda: None) is not None else {"model_memory_mb", "peak_rss_mb"}
    if here and _OF_GPU in names and not open_gpus(import_nvml()):
        absent.add(_OF_GPU)
    return [name for name in names if name in absent]


def parse_limits(text: str | None, score: Score, *, here: bool = True) -> Limits:
    """What a user's text limits; nothing without one.

    Args:
        text: what the user has given.
        score: of the trials.
        here: whether they run on this machine alone.

    Raises:
        UserError: the text has a mistake, or what it limits cannot be read.
    """
    if text is None:
        return Limits(())
    try:
        parsed = Limits.parse(text, metrics(score.validated, score.higher_is_better))
        for limit in of_served(parsed).rules:
            if isinstance(limit, RelativeLimit) or limit.from_s:
                raise ValueError(f"limits={parsed}: {limit} is on one served model; write a number alone")
    except ValueError as error:
        raise UserError(str(error)) from None
    for name in unreadable(parsed.metrics, here=here):
        raise UserError(f"limits={parsed}: {name} cannot be read on this machine; leave it out")
    return parsed
