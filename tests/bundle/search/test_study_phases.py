"""The costs of a study's phases: what their figure is of."""

from __future__ import annotations

import pytest
from mlflow import MlflowClient
from mlflow_sysmetrics.phases.course import Moment

from entrypoints.runs import RecordedRun
from entrypoints.search import study_phases
from entrypoints.search.study_phases import PREPARE, StudyPhases
from mlflow_sysmetrics.measurement import Measurement


def test_figure_begins_with_the_first_phase(client: MlflowClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its axis says so; before, the study waits for a cluster."""
    now, drawn = [0.0], list[Moment]()

    def sample() -> dict[str, float]:
        return {"process_memory_mb": now[0]}

    watch = Measurement(sample=sample, interval_s=3600.0, clock=lambda: now[0])
    monkeypatch.setattr(study_phases, "Measurement", lambda interval_s: watch)
    monkeypatch.setattr(study_phases, "log_figure", lambda uri, run_id, moments, phases: drawn.extend(moments))

    def pass_time() -> None:
        for _ in range(4):
            now[0] += 1.0
            watch.read()

    run = client.create_run("1")
    with StudyPhases(RecordedRun.of(client, run)) as phases:
        pass_time()
        phases.begin(PREPARE)
        pass_time()
    assert drawn[0].memory_mb == pytest.approx(5.0)
    assert client.get_run(run.info.run_id).data.metrics[f"phase/{PREPARE}/elapsed_s"] == 4.0
