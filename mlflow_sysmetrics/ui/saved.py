"""Views that the MLflow UI lists under *Views*: tags of an experiment, their links, and the view of what runs cost."""

import json
import re
import time
from collections.abc import Mapping, Sequence

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.utils.credentials import get_default_host_creds
from mlflow.utils.rest_utils import http_request

from mlflow_sysmetrics.common.redact import get_logger, is_server
from mlflow_sysmetrics.common.time_limits import ANSWER_S
from mlflow_sysmetrics.delivery.operations import SYSTEM_PREFIX
from mlflow_sysmetrics.metrics import COUNTS, CURVES, names
from mlflow_sysmetrics.recording.tags import STOP_REASON
from mlflow_sysmetrics.ui import page as ui

logger = get_logger(__name__)
OF_RUNS = "runs"  # the owner of the view of all runs of an experiment
MEASURED = ("metrics.elapsed_s >= 0", f"metrics.`{SYSTEM_PREFIX}process_memory_mb` >= 0")  # has ended, or not yet
_TAG = "mlflow.sharedViewState."  # MLflow's
_OURS = '"sysmetrics":'  # in a value, until a user changes the view in the UI
_MAX_VALUE = 5_000  # characters: MLflow refuses longer tags
_COSTS = names("process", "steps")
_SERIES = ("process_memory_mb", "process_cpu_percent", r"gpu_\d+_process_memory_mb", r"gpu_\d+_memory_mb")
_NOT_SHOWN = re.compile(  # as metrics of the program: what is ours, in results of `system_metrics`, or a library's
    rf"{SYSTEM_PREFIX}.*|(.*/)?({'|'.join((*_COSTS, *CURVES, *COUNTS))})|pid|timestamp|training_iteration"
    r"|(process|gpu_\d+)_\w*(percent|mb|_s|cores|threads|_w)(_max)?"
    r"|time_(total|this_iter)_s|\w+_since_restore|(episodes|timesteps)_total|(mean|std)_(fit|score)_time"
)


def save(client: MlflowClient, experiment_id: str, owner: str, pages: Mapping[str, ui.Page]) -> dict[str, str]:
    """Save pages as views of an experiment, the first on top of the menu, and return the link of each by its word.

    The owner is the run of a study, or any other word. What a user has changed is left alone. Where views cannot be
    saved, links are plain ones: nothing is raised.
    """
    links = {word: page.plain_link(experiment_id) for word, page in pages.items()}
    try:
        if _has_views(client.tracking_uri):
            _write(client, experiment_id, owner, pages, links)
    except Exception as error:  # a view is not worth a study
        logger.warning("the views of experiment %s could not be written: %s", experiment_id, error)
    return links


def _write(
    client: MlflowClient, experiment_id: str, owner: str, pages: Mapping[str, ui.Page], links: dict[str, str]
) -> None:
    """Write the views, and change the links to those that there are then."""
    tags = client.get_experiment(experiment_id).tags
    created_ms = int(time.time() * 1000)
    for word, page in pages.items():
        view_id = _view_id(owner, word)
        key = _TAG + view_id
        if key not in tags or _OURS in tags[key]:
            view = {"name": page.name, "createdAt": created_ms, "state": page.state(), "sysmetrics": True}
            value = json.dumps(view, separators=(",", ":"))
            if len(value) > _MAX_VALUE:
                continue
            client.set_experiment_tag(experiment_id, key, value)
        created_ms -= 1  # the menu has the newest on top
        links[word] = _link(experiment_id, view_id, page.shown)


def saved_link(tags: Mapping[str, str], experiment_id: str, owner: str, word: str) -> str | None:
    """The address of a view, as charts, that an experiment with these tags has; None where it has none."""
    view_id = _view_id(owner, word)
    return _link(experiment_id, view_id, "CHART") if _TAG + view_id in tags else None


def _view_id(owner: str, word: str) -> str:
    return f"sysmetrics-{owner}-{word}"


def _link(experiment_id: str, view_id: str, shown: ui.Shown) -> str:
    return f"{ui.runs_page(experiment_id)}&viewStateShareKey={view_id}&compareRunsMode={shown}"


def save_costs(client: MlflowClient, experiment_id: str, name: str, wanted: str, owner: str) -> str | None:
    """Save the view of the runs that a condition finds, and return its link; None if none of them was measured."""
    found: dict[str, Run] = {}
    for condition in MEASURED:
        measured = f"{wanted} and {condition}" if wanted else condition
        for run in client.search_runs([experiment_id], measured, max_results=100):
            found[run.info.run_id] = run
    if not found:
        return None
    page = _page(list(found.values()), name, wanted)
    return save(client, experiment_id, owner, {"costs": page})["costs"]


def _page(runs: Sequence[Run], name: str, wanted: str) -> ui.Page:
    """The page of these and of all others that the condition finds, as charts; the most expensive first."""
    names = dict.fromkeys(metric for run in runs for metric in run.data.metrics)
    costs = [cost for cost in _COSTS if cost in names]
    series = [metric for kind in _SERIES for metric in names if re.fullmatch(SYSTEM_PREFIX + kind, metric)]
    own = [metric for metric in names if not _NOT_SHOWN.fullmatch(metric)][:6]
    params = _telling_params(runs)[:6]
    against = []
    for metric in own[:2]:
        against += [ui.scatter(cost, metric) for cost in ("elapsed_s", "peak_memory_mb") if cost in costs]
    together = [ui.parallel(params, [*costs[:4], *own[:2]])] if params and costs else []
    sections = [
        ui.Section("Metrics against cost", against),
        ui.Section("Parameters, costs and metrics", together, columns=1),
        ui.Section("Costs", [ui.bars(cost) for cost in costs]),
        ui.Section("During the run", [ui.lines(metric, against="time-relative") for metric in series]),
    ]
    sections = [section for section in sections if section.cards]
    shown = costs or series
    why = ui.tag(STOP_REASON)
    columns = [*map(ui.param, params), *map(ui.metric, [*own, *shown]), why]
    sort_by = shown[0] if shown else None
    return ui.Page(name, wanted, sort_by=sort_by, columns=columns, wide=[why], sections=sections)


def _telling_params(runs: Sequence[Run]) -> list[str]:
    """The parameters that differ between runs, or else all."""
    given = dict.fromkeys(param for run in runs for param in run.data.params)
    varied = [param for param in given if len({run.data.params.get(param) for run in runs}) > 1]
    return varied or list(given)


def _has_views(uri: str) -> bool:
    """Whether the UI of this store has such views: a server says its version, a database has that of this MLflow."""
    if not is_server(uri):
        return "databricks" not in uri
    answer = http_request(get_default_host_creds(uri), "/version", "GET", max_retries=0, timeout=ANSWER_S)  # type: ignore
    return bool(answer.ok and re.match(r"3\.(1[7-9]|[2-9]\d)\.", answer.text.strip()))
