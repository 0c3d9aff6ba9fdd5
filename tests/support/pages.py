"""What the MLflow UI shows: saved views, as its savedViewEnvelope.ts and StringUtils.ts read them, and addresses."""

import base64
import json
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
    return json.loads(zlib.decompress(base64.b64decode(state.removeprefix("deflate;"), validate=True)))


def listed(client, experiment_id):
    """What the menu *Views* of an experiment lists, by name, the newest first."""
    views = []
    for tag, text in client.get_experiment(experiment_id).tags.items():
        if tag.startswith(PREFIX):
            entry = json.loads(text)
            state = unpacked(entry["state"])
            views.append(View(tag.removeprefix(PREFIX), entry["name"], entry["createdAt"], state))
    return {view.name: view for view in sorted(views, key=lambda view: -view.created_ms)}


def fragment(link):
    """The path and the query of the UI's address after the # sign."""
    assert link.startswith("#/")
    parts = urlsplit(link[1:])
    return parts.path, parse_qs(parts.query, strict_parsing=True)
