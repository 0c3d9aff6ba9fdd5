"""A page of runs of the MLflow UI: what it lists and shows, and its address."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import quote

from mlflow_sysmetrics.tags import KIND

MODE = "workflowType=machine_learning"  # the UI opens in another one
Shown = Literal["CHART", "TABLE"]
Card = Mapping[str, Any]
_PACKED = "deflate;"  # before a text that is compressed
_NUMBER_PX, _TEXT_PX = 150, 440
_REST = ("Model metrics", "System metrics")  # where the UI puts a chart of each metric that no card shows


@dataclass(frozen=True)
class Section:
    """Charts under a heading, ``columns`` of them side by side."""

    heading: str
    cards: Sequence[Card]
    columns: int = 3


@dataclass(frozen=True)
class Page:
    """Runs of one experiment, as charts or as a table.

    Args:
        name: in the menu *Views*.
        wanted: which runs, a condition of MLflow's search.
        shown: as what its link opens it. The menu keeps the mode that the user is in.
        sort_by: a metric, whose best run comes first; None for the newest run.
        ascending: whether its lowest value is first.
        columns: of the table, from left to right: ``param("batch_size")``, ``metric("val_rmse")``, ``tag("..")``.
        wide: those of the columns that hold sentences.
        sections: the charts. Those of all other metrics are below them, folded.
        all_runs: whether charts show every run that the list holds, and not its first ten.
    """

    name: str
    wanted: str
    shown: Shown = "CHART"
    sort_by: str | None = None
    ascending: bool = False
    columns: Sequence[str] = ()
    wide: Sequence[str] = ()
    sections: Sequence[Section] = ()
    all_runs: bool = True

    def state(self) -> str:
        """What the UI keeps of a saved view (MLflow 3.17), compressed as it does: see savedViewEnvelope.ts there."""
        cards = [
            {**card, "uuid": f"{place}-{number}", "metricSectionId": str(place), "deleted": False, "isGenerated": False}
            for place, section in enumerate(self.sections)
            for number, card in enumerate(section.cards)
        ]
        shown = [{"name": each.heading, "display": True, "columns": each.columns} for each in self.sections]
        shown += [{"name": heading, "display": False} for heading in _REST]
        fixed = {"isReordered": True, "deleted": False, "isGenerated": False}
        sections = [{"uuid": str(place), **section, **fixed} for place, section in enumerate(shown)]
        state = {
            "searchFilter": self.wanted,
            **({"orderByKey": metric(self.sort_by)} if self.sort_by else {}),
            "orderByAsc": self.ascending,
            "startTime": "ALL",
            "lifecycleFilter": "Active",
            "datasetsFilter": [],
            "modelVersionFilter": "All Runs",
            "selectedColumns": list(self.columns),
            "columnOrder": list(self.columns),
            "columnWidths": {column: _TEXT_PX if column in self.wide else _NUMBER_PX for column in self.columns},
            "runsHiddenMode": "SHOW_ALL" if self.all_runs else "FIRST_10_RUNS",
            "compareRunCharts": cards,
            "compareRunSections": sections,
            "isAccordionReordered": True,
            "hideEmptyCharts": True,
        }
        packed = zlib.compress(json.dumps(state, separators=(",", ":")).encode(), 9)
        return f"{_PACKED}{base64.b64encode(packed).decode()}"

    def plain_link(self, experiment_id: str) -> str:
        """Its address without a saved view: the same runs in the same order, shown as the UI likes."""
        order = metric(self.sort_by) if self.sort_by else None
        return _plain(experiment_id, self.wanted, order, self.ascending, self.shown)


def plain_link_of(state: str, experiment_id: str, shown: Shown) -> str:
    """The plain link of a page of which only the state is left. ValueError, zlib.error: it is not a state."""
    kept = json.loads(zlib.decompress(base64.b64decode(state.removeprefix(_PACKED))))
    return _plain(experiment_id, kept["searchFilter"], kept.get("orderByKey"), kept["orderByAsc"], shown)


def _plain(experiment_id: str, wanted: str, order: str | None, ascending: bool, shown: Shown) -> str:
    link = f"{runs_page(experiment_id)}&searchFilter={quote(wanted, safe='')}"
    if order:
        link += f"&orderByKey={quote(order, safe='')}&orderByAsc={str(ascending).lower()}"
    return f"{link}&compareRunsMode={shown}"


def runs_page(experiment_id: str) -> str:
    """The address of an experiment's runs, without that of the server: it works on any."""
    return f"#/experiments/{experiment_id}/runs?{MODE}"


def trials_of(run_id: str) -> str:
    """The trials that are nested under a run, as a condition of MLflow's search."""
    return f"tags.mlflow.parentRunId = '{run_id}' and {tag(KIND)} = 'trial'"


def metric(name: str) -> str:
    """The column of a metric, or what runs are sorted by."""
    return f"metrics.`{name}`"


def param(name: str) -> str:
    """The column of a parameter."""
    return f"params.`{name}`"


def tag(name: str) -> str:
    """The column of a tag."""
    return f"tags.`{name}`"


def scatter(x: str, y: str) -> Card:
    """One metric against another, a point a run. The UI's axes are linear."""
    axes = {"xaxis": {"key": x, "type": "METRIC"}, "yaxis": {"key": y, "type": "METRIC"}}
    return {"type": "SCATTER", **axes, "runsCountToCompare": 100}


def parallel(params: Iterable[str], metrics: Iterable[str]) -> Card:
    """Parallel coordinates, a line a run."""
    return {
        "type": "PARALLEL",
        "selectedParams": list(params),
        "selectedMetrics": list(metrics),
        "showAllRuns": False,
        "runsCountToCompare": 100,
    }


def bars(name: str) -> Card:
    """A metric that has one value a run."""
    return {"type": "BAR", "metricKey": name, "runsCountToCompare": 100}


def lines(name: str, *, log: bool = False, against: str = "step") -> Card:
    """A metric over the steps of a run, over ``"time-relative"``, or against another metric of it.

    Args:
        name: the metric.
        log: whether its axis is logarithmic.
        against: ``step``, ``time-relative`` for the time since its first point, or a metric.
    """
    card = {"type": "LINE", "metricKey": name, "selectedMetricKeys": [name], "runsCountToCompare": 20}
    card |= {"scaleType": "log" if log else "linear", "useGlobalXaxisKey": False}
    if against in ("step", "time-relative"):
        return card | {"xAxisKey": against}
    return card | {"xAxisKey": "metric", "selectedXAxisMetricKey": against}
