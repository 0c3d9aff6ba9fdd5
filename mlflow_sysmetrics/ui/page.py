"""A page of runs of the MLflow UI: what it lists and shows, and its address. The words are those of MLflow 3.17."""

import base64
import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import quote

from mlflow_sysmetrics.common.redact import is_server, redacted
from mlflow_sysmetrics.recording.tags import KIND

PORT = 5000  # where `mlflow-sysmetrics ui` starts a server, if nothing listens there
MODE = "workflowType=machine_learning"  # the UI opens in another one
FIRST = "first"  # the word of a study's view that `mlflow-sysmetrics ui` opens
Shown = Literal["CHART", "TABLE"]
Card = Mapping[str, Any]
_OWN = {"deleted": False, "isGenerated": False}  # of a section, and of a card


def metric(name: str) -> str:
    """The column of a metric."""
    return f"metrics.`{name}`"


def param(name: str) -> str:
    """The column of a parameter."""
    return f"params.`{name}`"


def tag(name: str) -> str:
    """The column of a tag."""
    return f"tags.`{name}`"


def trials_of(run_id: str) -> str:
    """The condition that finds the trials below a run."""
    return f"tags.mlflow.parentRunId = '{run_id}' and {tag(KIND)} = 'trial'"


def runs_page(experiment_id: str) -> str:
    """The address of an experiment's runs, on any server."""
    return f"#/experiments/{experiment_id}/runs?{MODE}"


def address(page: str, uri: str) -> str:
    """Of a page, without a login: on the store's own server, or else on the one that `mlflow-sysmetrics ui` starts."""
    server = redacted(uri).rstrip("/") if is_server(uri) else f"http://127.0.0.1:{PORT}"
    return f"{server}/{page}"


@dataclass(frozen=True)
class Section:
    """Charts under a heading, ``columns`` of them side by side."""

    heading: str
    cards: Sequence[Card]
    columns: int = 3


# Folded: where the UI puts a chart of each metric that no card shows.
_REST = [Section("Model metrics", ()), Section("System metrics", ())]


@dataclass(frozen=True)
class Page:
    """Runs of one experiment, as charts or as a table."""

    name: str  # in the menu *Views*
    wanted: str  # which runs, a condition of MLflow's search
    shown: Shown = "CHART"  # by its link; the menu keeps the mode that the user is in
    sort_by: str | None = None  # a metric; by their start, children are folded under their parent
    ascending: bool = False
    columns: Sequence[str] = ()  # of the table, from left to right: ``param("batch_size")``, ``metric("val_rmse")``
    wide: Sequence[str] = ()  # those of the columns that hold sentences
    sections: Sequence[Section] = ()  # below them, folded, are charts of all other metrics
    all_runs: bool = True  # whether charts show every run that the list holds, and not its first ten
    pinned: Sequence[str] = ()  # ids of runs that stand above all others

    def state(self) -> str:
        """What the UI keeps of a saved view, compressed as it does: see savedViewEnvelope.ts there."""
        cards: list[Card] = []
        sections: list[Card] = []
        for section in [*self.sections, *_REST]:
            section_id = str(len(sections))
            sections.append(
                {
                    "uuid": section_id,
                    "name": section.heading,
                    "display": section not in _REST,
                    "columns": section.columns,
                    "isReordered": True,
                    **_OWN,
                }
            )
            for card in section.cards:
                cards.append({**card, "metricSectionId": section_id, "uuid": f"card-{len(cards)}", **_OWN})
        columns = list(self.columns)
        state: dict[str, Any] = {
            "searchFilter": self.wanted,
            "orderByAsc": self.ascending,
            "startTime": "ALL",
            "lifecycleFilter": "Active",
            "datasetsFilter": [],
            "modelVersionFilter": "All Runs",
            "selectedColumns": columns,
            "columnOrder": columns,
            "columnWidths": {column: 440 if column in self.wide else 150 for column in columns},
            "runsPinned": list(self.pinned),
            "runsHiddenMode": "SHOW_ALL" if self.all_runs else "FIRST_10_RUNS",
            "compareRunCharts": cards,
            "compareRunSections": sections,
            "isAccordionReordered": True,
            "hideEmptyCharts": True,
        }
        if self.sort_by:
            state["orderByKey"] = metric(self.sort_by)
        packed = zlib.compress(json.dumps(state, separators=(",", ":")).encode(), 9)
        return f"deflate;{base64.b64encode(packed).decode()}"

    def plain_link(self, experiment_id: str) -> str:
        """Its address without a saved view: the same runs in the same order, shown as the UI likes."""
        link = f"{runs_page(experiment_id)}&searchFilter={quote(self.wanted, safe='')}"
        if self.sort_by:
            link += f"&orderByKey={quote(metric(self.sort_by), safe='')}&orderByAsc={str(self.ascending).lower()}"
        return f"{link}&compareRunsMode={self.shown}"


def scatter(x: str, y: str) -> Card:
    axes = {"xaxis": {"key": x, "type": "METRIC"}, "yaxis": {"key": y, "type": "METRIC"}}
    return {"type": "SCATTER", **axes, "runsCountToCompare": 100}


def parallel(params: Iterable[str], metrics: Iterable[str]) -> Card:
    chosen = {"selectedParams": list(params), "selectedMetrics": list(metrics)}
    return {"type": "PARALLEL", **chosen, "showAllRuns": False, "runsCountToCompare": 100}


def bars(name: str) -> Card:
    return {"type": "BAR", "metricKey": name, "runsCountToCompare": 100}


def lines(name: str, *, log: bool = False, against: str = "step") -> Card:
    """A metric, on a logarithmic axis or not, over ``step``, ``time-relative`` or another metric."""
    axis = {"xAxisKey": against}
    if against not in ("step", "time-relative"):
        axis = {"xAxisKey": "metric", "selectedXAxisMetricKey": against}
    card = {"type": "LINE", "metricKey": name, "selectedMetricKeys": [name], "runsCountToCompare": 20}
    return card | {"scaleType": "log" if log else "linear", "useGlobalXaxisKey": False, "lineSmoothness": 0} | axis
