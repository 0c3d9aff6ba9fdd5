"""Our views as an experiment's tags keep them: written, read, and of studies that are no longer new removed."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST, ErrorCode
from mlflow.utils.mlflow_tags import MLFLOW_RUN_NOTE

from mlflow_sysmetrics.views.page import Page, Shown, plain_link_of

PREFIX = "mlflow.sharedViewState."  # MLflow's, of the tags that it lists
KEY = "viewStateShareKey"  # of an address
OURS = "sysmetrics-"
MAX_STUDIES = 10  # whose views are kept, the newest
MAX_CHARACTERS = 5_000  # of an experiment's tag in MLflow's database
_MARK = "sysmetrics"  # by it a view is still as it was written here


@dataclass(frozen=True)
class Kept:
    """One of our views in an experiment. Without a state it was changed by a user, or cannot be read."""

    view_id: str
    owner: str
    created_ms: float
    state: str | None

    @property
    def untouched(self) -> bool:
        """Whether it is as it was written here."""
        return self.state is not None


def envelope(page: Page, created_ms: int) -> str:
    """The tag's value: what the UI reads of a view, and a mark by which a change of it is seen."""
    content = {"name": page.name, "createdAt": created_ms, "updatedAt": created_ms, "state": page.state()}
    return json.dumps(content | {_MARK: _digest(content)}, separators=(",", ":"))


def present_views(tags: Mapping[str, str]) -> dict[str, Kept]:
    """Our views among an experiment's tags, by their ids."""
    ids = [key.removeprefix(PREFIX) for key in tags if key.startswith(PREFIX + OURS)]
    return {view_id: _read(view_id, tags[PREFIX + view_id]) for view_id in ids}


def remove_old(client: MlflowClient, experiment_id: str, owner: str, present: Iterable[Kept]) -> None:
    """Remove the views of studies beyond the newest and of deleted ones, but for those that a user has changed.

    Descriptions of runs that lead to them get plain links in their place.

    Args:
        client: of the store.
        experiment_id: where the views are.
        owner: of the views that were saved now.
        present: our views that were there before.
    """
    others = [each for each in present if each.owner != owner]
    newest: dict[str, float] = {}
    for each in others:
        newest[each.owner] = max(newest.get(each.owner, 0.0), each.created_ms)
    ranked = sorted(filter(_is_run, newest), key=newest.__getitem__, reverse=True)
    first = 2 if _is_run(owner) else 1  # the newest is the one that was saved now, if it is a study's
    for place, other in enumerate(ranked, first):
        if place > MAX_STUDIES or _is_deleted(client, other):
            gone = [each for each in others if each.owner == other and each.untouched]
            _lead_elsewhere(client, experiment_id, other, gone)
            for each in gone:
                with contextlib.suppress(MlflowException):  # another study removes the same
                    client.delete_experiment_tag(experiment_id, PREFIX + each.view_id)


def _lead_elsewhere(client: MlflowClient, experiment_id: str, owner: str, gone: list[Kept]) -> None:
    """Put plain links into the descriptions of runs, in place of those to views that are going to be removed."""
    wanted = f"tags.`{MLFLOW_RUN_NOTE}` LIKE '%{KEY}={OURS}{owner}-%'"
    for run in client.search_runs([experiment_id], wanted) if gone else ():
        text = run.data.tags[MLFLOW_RUN_NOTE]
        for each in gone:
            text = _with_plain_links(text, each, experiment_id)
        client.set_tag(run.info.run_id, MLFLOW_RUN_NOTE, text)


def _with_plain_links(text: str, view: Kept, experiment_id: str) -> str:
    def plain(found: re.Match[str]) -> str:
        shown: Shown = "TABLE" if found[1] == "TABLE" else "CHART"
        with contextlib.suppress(ValueError, KeyError, zlib.error):
            return plain_link_of(view.state or "", experiment_id, shown)
        return found[0]

    return re.sub(rf"#/experiments/[^\s)]*?{KEY}={view.view_id}&compareRunsMode=(CHART|TABLE)", plain, text)


def _digest(content: Mapping[str, object]) -> str:
    return hashlib.sha256(f"{content['name']}\n{content['state']}".encode()).hexdigest()[:12]


def _read(view_id: str, value: str) -> Kept:
    owner = view_id.removeprefix(OURS).partition("-")[0]
    with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError):
        content = json.loads(value)
        as_written = content.get(_MARK) == _digest(content)
        return Kept(view_id, owner, float(content["createdAt"]), content["state"] if as_written else None)
    return Kept(view_id, owner, 0.0, None)


def _is_run(owner: str) -> bool:
    return len(owner) == 32


def _is_deleted(client: MlflowClient, run_id: str) -> bool:
    try:
        return bool(client.get_run(run_id).info.lifecycle_stage == "deleted")
    except MlflowException as error:  # or the store does not answer: that says nothing of the run
        return bool(error.error_code == ErrorCode.Name(RESOURCE_DOES_NOT_EXIST))
