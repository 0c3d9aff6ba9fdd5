"""Trials of a finished study, made up so that what a stop rule does to them can be worked out by hand."""

from __future__ import annotations

from collections.abc import Sequence

from reference import configured

from entrypoints.reporting.savings.replay import Course

STEPS, EVERY = 500, 100


def costing(
    step_ms: float, size: int = 32, losses: Sequence[float] = (0.5, 0.4, 0.3, 0.2, 0.1), **figures: float
) -> Course:
    """A trial of 500 steps, each of which takes so long; twice that of wall time."""
    training_time_s = step_ms * STEPS / 1e3
    times = {"training_time_s": training_time_s, "elapsed_s": 2 * training_time_s, "mean_step_time_ms": step_ms}
    reports = {
        EVERY * place: {
            "val_loss": loss,
            "training_time_s": training_time_s * place / len(losses),
            "mean_step_time_ms": step_ms,
            "peak_memory_mb": 100.0 + place,
        }
        for place, loss in enumerate(losses, start=1)
    }
    last = {"cpu_seconds": training_time_s, "peak_memory_mb": 100.0 + len(losses), "inference_latency_ms": 0.5}
    configuration = configured(batch_size=size, max_steps=STEPS)
    return Course(configuration, times | last | figures, reports, diverged=False)
