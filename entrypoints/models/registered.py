"""The best model of a study under a name in MLflow's model registry."""

from __future__ import annotations

from typing import TYPE_CHECKING

import mlflow
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from entrypoints.errors import UserError
from entrypoints.runs.tags import STUDY_LIMITS
from entrypoints.text import one_line
from mlflow_sysmetrics.common.redact import redacted, redacted_text

if TYPE_CHECKING:
    from entrypoints.models.best_model import LoggedModel

ALIAS = "candidate"


def check(name: str) -> None:
    """Check that MLflow has a model registry, and that it accepts this name.

    Raises:
        UserError: there is no registry, or it refuses the name.
    """
    try:
        MlflowClient().get_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise UserError(
                f"register={name}: the model registry at {redacted(mlflow.get_registry_uri())} refuses it "
                f"({redacted_text(one_line(error, 100))}); give another name, or leave register out"
            ) from None


def register(name: str, model: LoggedModel, description: str, *, is_judged: bool = True) -> str:
    """Make the model the newest version of this name, with the alias ``candidate`` and its figures as tags.

    A tag says where it is not known whether it meets the limits of its study.

    Returns:
        The version, in words.

    Raises:
        UserError: the registry refuses it. The model stays where it is.
    """
    tags = {figure: f"{value:.6g}" for figure, value in model.figures.items()}
    if not is_judged:
        tags[STUDY_LIMITS] = "not judged"
    try:
        version = mlflow.register_model(model.uri, name, tags=tags).version
        client = MlflowClient()
        client.update_model_version(name, version, description)
        client.set_registered_model_alias(name, ALIAS, version)
    except MlflowException as error:
        raise UserError(
            f"register={name}: the model is not registered ({redacted_text(one_line(error, 100))}), but the study is "
            f"complete; fix that and run mlflow.register_model('{model.uri}', {name!r})"
        ) from None
    return f"Registered as version {version} of {name}: models:/{name}@{ALIAS}"
