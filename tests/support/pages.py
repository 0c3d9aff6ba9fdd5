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
    tags = client.get_experiment(experiment_id).tags
    entries = {tag: json.loads(text) for tag, text in tags.items() if tag.startswith(PREFIX)}
    newest_first = sorted(entries, key=lambda tag: -entries[tag]["createdAt"])
    return {
        entries[tag]["name"]: View(tag.removeprefix(PREFIX), unpacked(entries[tag]["state"])) for tag in newest_first
    }


def fragment(link):
    """The path and the query of the UI's address after the # sign."""
    assert link.startswith("#/")
    parts = urlsplit(link[1:])
    return parts.path, parse_qs(parts.query, strict_parsing=True)
