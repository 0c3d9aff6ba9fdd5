"""Views that the MLflow UI lists under *Views*: saved with an experiment, and the links that open them."""

from __future__ import annotations

import time
from collections.abc import Mapping

import mlflow
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.utils.credentials import get_default_host_creds
from mlflow.utils.rest_utils import http_request
from packaging.version import InvalidVersion, Version

from mlflow_sysmetrics.redact import get_logger
from mlflow_sysmetrics.views.kept import KEY, MAX_CHARACTERS, OURS, PREFIX, envelope, present_views, remove_old
from mlflow_sysmetrics.views.page import Page, Shown, runs_page

logger = get_logger(__name__)

_FIRST, _UNKNOWN = Version("3.17"), Version("4")
ANSWER_S = 5  # of a server, to which version it has


def save(client: MlflowClient, experiment_id: str, owner: str, pages: Mapping[str, Page]) -> dict[str, str]:
    """Save the pages as views of an experiment, first the first, and return the link of each.

    Where the server has no such views, or another format of them, nothing is written, and the links are plain ones.
    The views of the ten newest studies stay; older ones, and those of deleted runs, are removed: see ``kept``. A view
    that a user has changed, and all that are not ours, are left alone. Nothing is raised for what the store refuses.

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
        present = present_views(client.get_experiment(experiment_id).tags)
        now_ms = int(time.time() * 1000)
        for place, (word, page) in enumerate(pages.items()):
            view_id = f"{OURS}{owner}-{word}"
            before = present.get(view_id)
            if before is None or before.untouched:
                value = envelope(page, now_ms - place)  # the menu lists the newest first
                if len(value) > MAX_CHARACTERS:
                    continue
                client.set_experiment_tag(experiment_id, PREFIX + view_id, value)
            links[word] = _link(experiment_id, view_id, page.shown)
        remove_old(client, experiment_id, owner, present.values())
    except Exception as error:  # of the store or the network: a view is not worth a study
        logger.warning("the views of experiment %s could not be written: %s", experiment_id, error)
    return links


def saved_link(
    tags: Mapping[str, str], experiment_id: str, owner: str, word: str, shown: Shown = "CHART"
) -> str | None:
    """The address of a view that an experiment with these tags has; None where it has none."""
    view_id = f"{OURS}{owner}-{word}"
    return _link(experiment_id, view_id, shown) if PREFIX + view_id in tags else None


def first_link(tags: Mapping[str, str], experiment_id: str, owner: str) -> str | None:
    """The address of an owner's first view, of an experiment with these tags; None where it has none."""
    views = [each for each in present_views(tags).values() if each.owner == owner]
    first = max(views, key=lambda each: each.created_ms, default=None)
    return _link(experiment_id, first.view_id, "CHART") if first else None


def has_views(tracking_uri: str) -> bool:
    """Whether the UI of this store lists saved views in the format that is written here."""
    try:
        version = Version(_version(tracking_uri))
    except (InvalidVersion, MlflowException, OSError):
        return False
    return _FIRST <= Version(version.base_version) < _UNKNOWN


def is_view(address: str) -> bool:
    """Whether a link that ``save`` has returned opens a saved view, and not a plain page."""
    return f"&{KEY}=" in address


def _link(experiment_id: str, view_id: str, shown: Shown) -> str:
    return f"{runs_page(experiment_id)}&{KEY}={view_id}&compareRunsMode={shown}"


def _version(tracking_uri: str) -> str:
    """That of the server; of this MLflow, where the store is a database, since its UI is started from here."""
    if not tracking_uri.startswith(("http://", "https://")):
        return mlflow.__version__ if "databricks" not in tracking_uri else ""
    login = get_default_host_creds(tracking_uri)  # type: ignore[no-untyped-call]
    answer = http_request(login, "/version", "GET", max_retries=0, timeout=ANSWER_S)  # type: ignore[no-untyped-call]
    return str(answer.text).strip() if answer.ok else ""
