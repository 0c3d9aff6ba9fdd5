"""The files of a model, by any address that MLflow knows."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass

import mlflow
from mlflow.models import Model
from mlflow.types import Schema

from mlflow_sysmetrics.common.redact import redacted_text
from mlflow_sysmetrics.delivery.store import one_line


class ServedError(Exception):
    """What was asked cannot be measured: one sentence for the user."""


@dataclass(frozen=True)
class ServedModel:
    """A model on this machine. `metadata` is its file MLmodel."""

    uri: str
    folder: str
    metadata: Model

    @property
    def model_id(self) -> str | None:
        """Of the logged model; None of one from MLflow 2. The registry often does not know it, the file does."""
        return self.metadata.model_id

    @property
    def schema(self) -> Schema | None:
        """What it takes, where its signature says so."""
        signature = self.metadata.signature
        return None if signature is None else signature.inputs

    def takes(self, column: str) -> bool:
        """Whether it names this column as one of its inputs."""
        schema = self.schema
        return schema is not None and schema.has_input_names() and column in schema.input_names()


@contextlib.contextmanager
def downloaded(uri: str) -> Iterator[ServedModel]:
    """A copy of a model, as long as the context is entered. ServedError: there is no such model."""
    with tempfile.TemporaryDirectory(prefix="mlflow-sysmetrics-", ignore_cleanup_errors=True) as target:
        try:
            folder = mlflow.artifacts.download_artifacts(uri, dst_path=target)  # of a folder a copy that is within it
            metadata = Model.load(folder)
        except Exception as error:  # of a store, a network, or a storage of any kind
            raise ServedError(f"{uri} cannot be loaded: {redacted_text(one_line(error))}") from None
        yield ServedModel(uri, folder, metadata)
