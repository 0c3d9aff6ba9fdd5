"""What the MLflow UI shows: saved views, as its savedViewEnvelope.ts and StringUtils.ts read them, and addresses."""

from __future__ import annotations

import base64
import json
import os
import zlib
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

PREFIX = "mlflow.sharedViewState."


@dataclass(frozen=True)
class View:
    """One entry of the menu *Views*, and what it shows."""

    id: str
    name: str
    created_ms: float
    state: dict

    @property
    def headings(self):
        """Its sections from the top, and whether each is open."""
        return {section["name"]: section["display"] for section in self.state["compareRunSections"]}

    @property
    def cards(self):
        """The charts of each section that has some."""
        headings = {section["uuid"]: section["name"] for section in self.state["compareRunSections"]}
        found = {}
        for card in self.state["compareRunCharts"]:
            found.setdefault(headings[card["metricSectionId"]], []).append(card)
        return found


def unpacked(state):
    """The state of a view, from its packed text."""
    return dict(json.loads(zlib.decompress(base64.b64decode(state.removeprefix("deflate;"), validate=True))))


def tags_of(client, experiment_id):
    """The tags of an experiment that the menu is made of."""
    tags = client.get_experiment(experiment_id).tags
    return {key: value for key, value in tags.items() if key.startswith(PREFIX)}


def listed(client, experiment_id):
    """What the menu *Views* of an experiment lists, by name, the newest first; broken tags are left out there, too."""
    views = []
    for key, value in tags_of(client, experiment_id).items():
        try:
            content = json.loads(value)
            name, created_ms, state = content["name"], content["createdAt"], content["state"]
        except (ValueError, KeyError, TypeError):
            continue
        shown = unpacked(state) if state.startswith("deflate;") else json.loads(state)
        views.append(View(key.removeprefix(PREFIX), name, created_ms, shown))
    return {view.name: view for view in sorted(views, key=lambda view: -view.created_ms)}


def golden(file, state):
    """The state of a view that a file has, as a newcomer would read it; UPDATE_GOLDEN=1 writes it again."""
    if os.environ.get("UPDATE_GOLDEN"):
        file.write_text(json.dumps(state, indent=1) + "\n")
    return json.loads(file.read_text())


def fragment(link):
    """The path and the query of the UI's address after the # sign."""
    assert link.startswith("#/")
    parts = urlsplit(link[1:])
    return parts.path, parse_qs(parts.query, strict_parsing=True)
