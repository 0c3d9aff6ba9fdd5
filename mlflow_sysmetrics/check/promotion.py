"""An alias of the registry, which moves to the candidate where nothing is worse."""

from __future__ import annotations

from typing import NamedTuple

import click
import mlflow
from mlflow import MlflowClient
from mlflow.store.artifact.utils.models import get_model_name_and_version

from mlflow_sysmetrics.check.contest import CheckError
from mlflow_sysmetrics.command.ask_store import ask_store


def fixed(uri: str) -> str:
    """The same model by an address that nobody can move: an alias becomes the version that it names now."""
    if not uri.startswith("models:/"):
        return uri
    found = ask_store(
        mlflow.get_tracking_uri(),
        lambda: get_model_name_and_version(MlflowClient(), uri),  # type: ignore[no-untyped-call]
    )
    return "models:/" + "/".join(map(str, found))


class Promotion(NamedTuple):
    """The alias, the version that it named when the check began (None: there was none), and the candidate's."""

    name: str
    alias: str
    before: str | None
    after: str

    @classmethod
    def of(cls, alias: str, baseline: str, candidate: str) -> Promotion:
        """The promotion of a candidate, by addresses from `fixed`. click.UsageError: it would not be one."""
        name, _, version = candidate.removeprefix("models:/").rpartition("/")
        if not name:
            raise click.UsageError(f"--promote {alias}: {candidate} is no version of a registered model; register it")
        promotion = cls(name, alias, _named(name, alias), version)
        if promotion.before is not None and baseline != f"models:/{name}/{promotion.before}":
            now = f"models:/{name}@{alias} is version {promotion.before}"
            raise click.UsageError(f"--promote {alias}: {now}, so give that as the baseline")
        return promotion

    def move(self) -> str:
        """Let the alias name the candidate; a sentence on it. CheckError: somebody has moved it meanwhile."""
        address = f"models:/{self.name}@{self.alias}"
        now = _named(self.name, self.alias)
        if now != self.before:
            was = f"it was {self.before or 'none'} when the check began"
            raise CheckError(f"{address} is version {now or 'none'} now, {was}: it stays where it is")
        ask_store(
            mlflow.get_tracking_uri(),
            lambda: MlflowClient().set_registered_model_alias(self.name, self.alias, self.after),
        )
        return f"{address}: version {self.before or 'none'} -> {self.after}"


def _named(name: str, alias: str) -> str | None:
    """The version that an alias names; None where there is no such alias."""
    aliases = ask_store(mlflow.get_tracking_uri(), lambda: MlflowClient().get_registered_model(name).aliases)
    version = aliases.get(alias)
    return None if version is None else str(version)
