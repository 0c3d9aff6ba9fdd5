"""Views that the MLflow UI lists under *Views*: kept in an experiment's tags, and only the newest of ours."""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass

import mlflow
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST, ErrorCode
from mlflow.utils.credentials import get_default_host_creds
from mlflow.utils.rest_utils import http_request
from packaging.version import InvalidVersion, Version

from mlflow_sysmetrics.addresses import get_logger
from mlflow_sysmetrics.views.page import Page, Shown, runs_page

logger = get_logger(__name__)

PREFIX = "mlflow.sharedViewState."  # MLflow's, of the tags that it lists
NEWEST = 10  # studies whose views are kept
MAX_CHARACTERS = 5_000  # of an experiment's tag in MLflow's database
_KEY = "viewStateShareKey"  # of an address
_OURS = "sysmetrics-"
_MARK = "sysmetrics"  # by it a view is still as it was written here
_FIRST, _UNKNOWN = Version("3.17"), Version("4")
_ANSWER_S = 5


@dataclass(frozen=True)
class _Saved:
    """One of our views in an experiment."""

    key: str
    owner: str
    created_ms: float
    untouched: bool


def save(client: MlflowClient, experiment_id: str, owner: str, pages: Mapping[str, Page]) -> dict[str, str]:
    """Save the pages as views of an experiment, first the first, and return the link of each.

    Where the server has no such views, or another format of them, nothing is written, and the links are plain ones.
    The views of the ``NEWEST`` owners stay; older ones, and those of deleted runs, are removed. A view that a user has
    changed, and all that are not ours, are left alone. Nothing is raised for what the store refuses.

    Args:
        client: of the store.
        experiment_id: where the views are listed.
        owner: the id of the run that they belong to, or any other word for views that stay.
        pages: by a word for each, which is a part of its link.
    """
    links = {word: page.plain_link(experiment_id) for word, page in pages.items()}
    try:
        if not has_views(client.tracking_uri):
            return links
        present = _present(client.get_experiment(experiment_id).tags)
        now_ms = int(time.time() * 1000)
        for place, (word, page) in enumerate(pages.items()):
            view_id = f"{_OURS}{owner}-{word}"
            before = present.get(view_id)
            if before is None or before.untouched:
                value = _envelope(page, now_ms - place)  # the menu lists the newest first
                if len(value) > MAX_CHARACTERS:
                    continue
                client.set_experiment_tag(experiment_id, PREFIX + view_id, value)
            links[word] = _link(experiment_id, view_id, page.shown)
        _remove_old(client, experiment_id, owner, [each for each in present.values() if each.owner != owner])
    except Exception as error:  # of the store or the network: a view is not worth a study
        logger.warning("the views of experiment %s could not be written: %s", experiment_id, error)
    return links


def saved_link(
    tags: Mapping[str, str], experiment_id: str, owner: str, word: str, shown: Shown = "CHART"
) -> str | None:
    """The address of a view that an experiment with these tags has; None where it has none."""
    view_id = f"{_OURS}{owner}-{word}"
    return _link(experiment_id, view_id, shown) if PREFIX + view_id in tags else None


def first_link(tags: Mapping[str, str], experiment_id: str, owner: str) -> str | None:
    """The address of an owner's first view, of an experiment with these tags; None where it has none."""
    views = [each for each in _present(tags).values() if each.owner == owner]
    first = max(views, key=lambda each: each.created_ms, default=None)
    return _link(experiment_id, first.key.removeprefix(PREFIX), "CHART") if first else None


def has_views(tracking_uri: str) -> bool:
    """Whether the UI of this store lists saved views in the format that is written here."""
    try:
        version = Version(_version(tracking_uri))
    except (InvalidVersion, MlflowException, OSError):
        return False
    return _FIRST <= Version(version.base_version) < _UNKNOWN


def is_view(address: str) -> bool:
    """Whether a link that ``save`` has returned opens a saved view, and not a plain page."""
    return f"&{_KEY}=" in address


def _link(experiment_id: str, view_id: str, shown: Shown) -> str:
    return f"{runs_page(experiment_id)}&{_KEY}={view_id}&compareRunsMode={shown}"


def _version(tracking_uri: str) -> str:
    """That of the server; of this MLflow, where the store is a database, since its UI is started from here."""
    if not tracking_uri.startswith(("http://", "https://")):
        return mlflow.__version__ if "databricks" not in tracking_uri else ""
    login = get_default_host_creds(tracking_uri)  # type: ignore[no-untyped-call]
    answer = http_request(login, "/version", "GET", max_retries=0, timeout=_ANSWER_S)  # type: ignore[no-untyped-call]
    return str(answer.text).strip() if answer.ok else ""


def _envelope(page: Page, created_ms: int) -> str:
    content = {"name": page.name, "createdAt": created_ms, "updatedAt": created_ms, "state": page.state()}
    return json.dumps(content | {_MARK: _digest(content)}, separators=(",", ":"))


def _digest(content: Mapping[str, object]) -> str:
    return hashlib.sha256(f"{content['name']}\n{content['state']}".encode()).hexdigest()[:12]


def _present(tags: Mapping[str, str]) -> dict[str, _Saved]:
    """Our views among an experiment's tags, by their ids."""
    found = {}
    for key, value in tags.items():
        view_id = key.removeprefix(PREFIX)
        if key.startswith(PREFIX + _OURS):
            found[view_id] = _read(key, view_id.removeprefix(_OURS).partition("-")[0], value)
    return found


def _read(key: str, owner: str, value: str) -> _Saved:
    with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError):
        content = json.loads(value)
        return _Saved(key, owner, float(content["createdAt"]), content.get(_MARK) == _digest(content))
    return _Saved(key, owner, 0.0, untouched=False)


def _remove_old(client: MlflowClient, experiment_id: str, owner: str, others: list[_Saved]) -> None:
    """Remove what others than the one that was written now have too many of, if no user has changed it."""
    newest: dict[str, float] = {}
    for each in others:
        newest[each.owner] = max(newest.get(each.owner, 0.0), each.created_ms)
    ranked = sorted(filter(_is_run, newest), key=newest.__getitem__, reverse=True)
    first = 2 if _is_run(owner) else 1  # the newest is the one that was written now, if it is a study's
    gone = {other for place, other in enumerate(ranked, first) if place > NEWEST or _is_deleted(client, other)}
    for each in others:
        if each.owner in gone and each.untouched:
            with contextlib.suppress(MlflowException):  # another study removes the same
                client.delete_experiment_tag(experiment_id, each.key)


def _is_run(owner: str) -> bool:
    return len(owner) == 32


def _is_deleted(client: MlflowClient, run_id: str) -> bool:
    try:
        return bool(client.get_run(run_id).info.lifecycle_stage == "deleted")
    except MlflowException as error:  # or the store does not answer: that says nothing of the run
        return bool(error.error_code == ErrorCode.Name(RESOURCE_DOES_NOT_EXIST))
