"""The best model in MLflow's model registry, in a real store."""

import json
from pathlib import Path

import mlflow
import pytest
from records import study_settings

from entrypoints.errors import UserError
from entrypoints.models.best_model import LoggedModel
from entrypoints.models.registered import check, register
from entrypoints.runs.recorded import RecordedRun
from entrypoints.study.plan import planned

FIGURES = {"best_val_rmse": 2 / 3, "refit_cpu_seconds": 1234.5678}
NO_REGISTRY = "nowhere://"


@pytest.fixture
def active_run(store_in_use):
    """An open run in a store of the test's own."""
    with mlflow.start_run() as active:
        yield RecordedRun.of(store_in_use, active)


def _logged(run):
    model = run.client.create_logged_model(run.experiment_id, "model", source_run_id=run.run_id)
    return LoggedModel(model.model_id, FIGURES)


def test_newest_model_of_a_name_is_the_candidate(active_run):
    """Each is a version with a description, and its score and costs as tags; a new name is let pass, and not made."""
    models = [_logged(active_run), _logged(active_run)]
    for number, model in enumerate(models, 1):
        check("wine quality")
        assert len(active_run.client.search_registered_models()) == (number > 1)
        said = register("wine quality", model, f"the model number {number}")
        assert said == f"Registered as version {number} of wine quality: models:/wine quality@candidate"
        version = active_run.client.get_model_version("wine quality", str(number))
        assert version.run_id == active_run.run_id
        assert version.source == model.uri
        assert version.description == f"the model number {number}"
        assert version.tags == {"best_val_rmse": "0.666667", "refit_cpu_seconds": "1234.57"}
        versions = active_run.client.get_logged_model(model.model_id).tags["mlflow.modelVersions"]  # for the Models tab
        assert json.loads(versions) == [{"name": "wine quality", "version": number}]
    assert active_run.client.get_model_version_by_alias("wine quality", "candidate").source == models[1].uri
    register("wine quality", models[0], "on a busy machine", is_judged=False)
    assert active_run.client.get_model_version("wine quality", "3").tags["sysmetrics.limits"] == "not judged"


def test_store_without_a_registry_is_refused_before_the_search(active_run, monkeypatch):
    """In one sentence."""
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", NO_REGISTRY)
    with pytest.raises(UserError, match=rf"^register=wine: the model registry at {NO_REGISTRY} [^\n]*; give another"):
        planned(study_settings(register="wine"), folder=Path())


def test_refusal_at_the_end_says_how_to_register_later(active_run, monkeypatch):
    """The model stays where it is."""
    model = _logged(active_run)
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", NO_REGISTRY)
    with pytest.raises(UserError) as refused:
        register("wine", model, "")
    assert refused.value.message.startswith("register=wine: the model is not registered (")
    assert refused.value.message.endswith(f"run mlflow.register_model('{model.uri}', 'wine')")
    assert active_run.client.get_logged_model(model.model_id).model_id == model.model_id
