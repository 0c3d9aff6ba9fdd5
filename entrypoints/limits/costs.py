"""The costs of a trial that criteria can limit."""

from __future__ import annotations

from collections.abc import Callable, Collection

from entrypoints.compute import memory
from entrypoints.datasets.tables import Task
from entrypoints.models.losses import score_name
from mlflow_sysmetrics.limits import Criteria, Kind, Metric, Values
from mlflow_sysmetrics.sampling import ProcessSampler, import_nvml, open_gpus

_COSTS = (
    Metric("peak_memory_mb", Kind.GROWING),
    Metric("memory_growth_mb", Kind.GROWING),
    Metric("model_memory_mb", Kind.GROWING),
    Metric("peak_gpu_memory_mb", Kind.GROWING),
    Metric("training_time_s", Kind.GROWING),
    Metric("elapsed_s", Kind.GROWING),
    Metric("cpu_seconds", Kind.GROWING),
    Metric("mean_step_time_ms", Kind.MEAN),
    Metric("mean_cpu_percent", Kind.MEAN, higher_is_better=True),
    Metric("inference_latency_ms", Kind.FACT),
    Metric("inference_p99_ms", Kind.FACT),
    Metric("rows_per_s", Kind.FACT, higher_is_better=True),
    Metric("model_size_kb", Kind.FACT),
)
# Criteria may name these, too. Reports test none of them: they follow a cost above, and each test weakens the others.
_BESIDE = (
    Metric("user_cpu_seconds", Kind.GROWING),
    Metric("system_cpu_seconds", Kind.GROWING),
    Metric("peak_rss_mb", Kind.GROWING),
)
BESIDE = tuple(metric.name for metric in _BESIDE)
SYSTEM_FIGURES = tuple(metric.name for metric in _COSTS)
COSTS = tuple(metric.name for metric in _COSTS if not metric.higher_is_better)  # where less is better
# What an untrained model already shows. A 99th percentile is not one of them: it depends on how many rows it is of.
OF_UNTRAINED = ("inference_latency_ms", "model_size_kb")

OF_GROUP = {"peak_gpu_memory_mb": "gpu"}  # what is read only where a study asks for it

# How much one configuration's figure differs from run to run, as a share of it, until trials have shown it. Times on
# a shared machine differ by a tenth; a process that had other trials before differs by a few pages.
USUAL_NOISE = {
    "training_time_s": 0.1,
    "elapsed_s": 0.1,
    "cpu_seconds": 0.1,
    "user_cpu_seconds": 0.1,
    "system_cpu_seconds": 0.5,  # of a trial of a second, of which it is hundredths
    "mean_step_time_ms": 0.1,
    "mean_cpu_percent": 0.1,
    "inference_latency_ms": 0.1,
    "inference_p99_ms": 0.1,
    "rows_per_s": 0.1,
    "model_memory_mb": 0.1,
    "peak_memory_mb": 0.01,
    "peak_rss_mb": 0.01,
    "memory_growth_mb": 0.1,
    "peak_gpu_memory_mb": 0.01,
}


def compared(criteria: Criteria) -> list[str]:
    """The costs by which equally good models are compared, first those with an upper limit, then the training time."""
    limited = [limit.metric.name for limit in criteria.limits if limit.is_upper]
    limited = [name for name in limited if name in (*COSTS, *BESIDE)]
    return [*limited, "training_time_s"]


def metrics(task: Task) -> tuple[Metric, ...]:
    """Everything that a criterion can name, for trials of a task."""
    curves = (
        Metric("train_loss", Kind.CURVE),
        Metric("val_loss", Kind.CURVE),
        Metric(f"val_{score_name(task)}", Kind.CURVE, higher_is_better=task == "classification"),
    )
    return _COSTS + _BESIDE + curves


def readable(
    task: Task, groups: Collection[str] = (), sample: Callable[[], Values] | None = None, *, here: bool = True
) -> set[str]:
    """The names of those ``metrics`` that can be measured for a trial.

    Args:
        task: of the trials.
        groups: the groups to measure, besides ``process``.
        sample: reads a process, this one by default.
        here: whether this machine must be able to read ``groups``; other machines may have other devices.
    """
    names = {metric.name for metric in metrics(task) if OF_GROUP.get(metric.name, "process") in (*groups, "process")}
    if here and "gpu" in groups and not open_gpus(import_nvml()):
        names -= {"peak_gpu_memory_mb"}
    if "process_memory_mb" not in (sample or ProcessSampler())():
        names -= {"peak_memory_mb", "memory_growth_mb"}
    return names if memory.raised(lambda: None) is not None else names - {"model_memory_mb", "peak_rss_mb"}
