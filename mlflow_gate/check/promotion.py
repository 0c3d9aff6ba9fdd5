"""An alias of the registry, which moves to the candidate where nothing is worse."""

from __future__ import annotations

from collections.abc import Callable

import click
import mlflow
from mlflow import MlflowClient
from mlflow.store.artifact.utils.models import get_model_name_and_version

from mlflow_gate.check.contest import CheckError
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


def promotion(alias: str, baseline: str, candidate: str) -> Callable[[], None]:
    """What lets an alias name the candidate, and says so; the models are addresses from `fixed`.

    click.UsageError: it would be no promotion. When called: CheckError if somebody has moved the alias since now.
    """
    name, _, version = candidate.removeprefix("models:/").rpartition("/")
    address = f"models:/{name}@{alias}"
    if not name:
        raise click.UsageError(f"--promote {alias}: {candidate} is no version of a registered model; register it")
    before = _named(name, alias)
    if before is not None and baseline != f"models:/{name}/{before}":
        raise click.UsageError(f"--promote {alias}: {address} is version {before}, so give that as the baseline")

    def move() -> None:
        now = _named(name, alias)
        if now != before:
            was = f"it was {before or 'none'} when the check began"
            raise CheckError(f"{address} is version {now or 'none'} now, {was}: it stays where it is")
        ask_store(
            mlflow.get_tracking_uri(),
            lambda: MlflowClient().set_registered_model_alias(name, alias, version),
        )
        click.echo(f"{address}: version {before or 'none'} -> {version}", err=True)

    return move


def _named(name: str, alias: str) -> str | None:
    """The version that an alias names; None where there is no such alias."""
    aliases = ask_store(mlflow.get_tracking_uri(), lambda: MlflowClient().get_registered_model(name).aliases)
    version = aliases.get(alias)
    return None if version is None else str(version)
