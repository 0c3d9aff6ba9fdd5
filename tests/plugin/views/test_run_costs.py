"""The page of what any runs have cost: made from what they have logged, of real runs in a store."""

from __future__ import annotations

from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric, Param
from saved_views import View, listed, tags_of

from mlflow_sysmetrics.views.costs import MAX_RUNS, save_costs
from mlflow_sysmetrics.views.saved import is_view

COSTS = {"elapsed_s": 2.0, "peak_memory_mb": 120.0}
SERIES = {"system/process_memory_mb": 100.0, "system/process_cpu_percent": 90.0}


def log(client: MlflowClient, metrics: dict[str, float], params: dict[str, Any] | None = None, tag: str = "a") -> None:
    """A run that has logged this."""
    run = client.create_run("1", tags={"team": tag})
    given = [Param(name, str(value)) for name, value in (params or {}).items()]
    client.log_batch(run.info.run_id, [Metric(name, value, 1, 0) for name, value in metrics.items()], given)


def view(client: MlflowClient, wanted: str = "") -> View:
    """The view of the runs."""
    link = save_costs(client, "1", "What runs cost", wanted, "runs")
    assert link is not None
    assert is_view(link)
    (found,) = listed(client, "1").values()
    assert (found.name, found.id in link) == ("What runs cost", True)
    return found


def columns(found: View, kind: str) -> list[str]:
    """Those of a view that are params, metrics or tags."""
    return [name.split("`")[1] for name in found.state["selectedColumns"] if name.startswith(kind)]


def test_columns_are_what_differs_what_was_measured_and_why_it_ended(client: MlflowClient) -> None:
    """A parameter that all runs share tells nothing, nor does a figure that none has."""
    for size in (8, 64):
        log(client, COSTS | SERIES | {"loss": 0.5}, {"batch_size": size, "seed": 0})
    found = view(client)
    assert columns(found, "params") == ["batch_size"]
    assert columns(found, "metrics") == ["loss", "elapsed_s", "peak_memory_mb"]
    assert columns(found, "tags") == ["sysmetrics.stop_reason"]


def test_charts_are_metrics_against_cost_costs_and_series(client: MlflowClient) -> None:
    """The first thing to see is what a better score costs."""
    for size in (8, 64):
        log(client, COSTS | SERIES | {"loss": 0.5}, {"batch_size": size})
    cards = view(client).cards
    scatters = [(card["xaxis"]["key"], card["yaxis"]["key"]) for card in cards["Metrics against cost"]]
    assert scatters == [("elapsed_s", "loss"), ("peak_memory_mb", "loss")]
    (parallel,) = cards["Parameters, costs and metrics"]
    assert parallel["selectedParams"] == ["batch_size"]
    assert parallel["selectedMetrics"] == ["elapsed_s", "peak_memory_mb", "loss"]
    assert [card["metricKey"] for card in cards["Costs"]] == ["elapsed_s", "peak_memory_mb"]
    assert [card["metricKey"] for card in cards["During the run"]] == list(SERIES)


def test_plain_run_that_still_goes_on_has_its_series(client: MlflowClient) -> None:
    """Its figures come at its end: until then the table has what is read of its process."""
    log(client, SERIES)
    found = view(client)
    assert found.headings == {"During the run": True, "Model metrics": False, "System metrics": False}
    assert list(found.cards) == ["During the run"]
    assert columns(found, "metrics") == list(SERIES)


def test_our_figures_are_costs_and_no_metrics_of_the_program(client: MlflowClient) -> None:
    """Those of steps, of phases, of ranks and of nodes, too, and the counts of a study's run."""
    figures = ["elapsed_s", "peak_memory_mb", "read_mb", "write_mb", "mean_step_time_ms", "steps", "ranks"]
    below = {"phase/load": "cpu_seconds", "rank_0": "steps", "a/rank_1/phase/load": "write_mb", "node-1": "read_mb"}
    others = [f"{above}/{name}" for above, figure in below.items() for name in (figure, "elapsed_s")]
    others += ["process_cpu_percent", "process_memory_mb_max", "memory_mb"]  # as `system_metrics` reports them
    others += ["gpu_0_memory_mb", "gpu_11_power_w_max", "gpu_0_process_utilization_percent", "container_cpu_percent"]
    others += ["trials", "stopped", "failed", "restarts"]
    log(client, dict.fromkeys([*others, *figures, "loss", "eval/accuracy"], 1.0), {"batch_size": 8})
    found = view(client)
    assert sorted(columns(found, "metrics")[:2]) == ["eval/accuracy", "loss"]
    assert columns(found, "metrics")[2:] == figures
    assert [card["metricKey"] for card in found.cards["Costs"]] == figures


def test_metrics_of_the_program_that_are_named_like_ours_are_its_own(client: MlflowClient) -> None:
    """What it counts below a name of its own, and what only begins alike."""
    own = ["process_reward", "val/steps", "eval/memory_mb", "gpu_0_loss", "container_loss", "failed"]
    log(client, COSTS | dict.fromkeys(own, 1.0))
    assert sorted(columns(view(client), "metrics")[: len(own)]) == sorted(own)


def test_memory_of_each_gpu_is_drawn(client: MlflowClient) -> None:
    """That of the process before that of all; a maximum is another series."""
    gpus = [f"system/gpu_{number}_{of}memory_mb" for of in ("process_", "") for number in (0, 1)]
    log(client, SERIES | dict.fromkeys([*gpus, "system/gpu_0_memory_mb_max", "system/gpu_0_power_w"], 1.0))
    assert [card["metricKey"] for card in view(client).cards["During the run"]] == [*SERIES, *gpus]


def test_only_run_shows_all_its_parameters(client: MlflowClient) -> None:
    """There is nothing from which it could differ."""
    log(client, COSTS, {"batch_size": 8, "seed": 0})
    assert columns(view(client), "params") == ["batch_size", "seed"]


def test_rays_bookkeeping_is_left_out(client: MlflowClient) -> None:
    """Of what Ray adds to each result nothing is a score."""
    rays = ("training_iteration", "time_total_s", "time_this_iter_s", "timestamp", "pid", "iterations_since_restore")
    log(client, COSTS | dict.fromkeys(rays, 1.0) | {"reward": 3.0})
    assert columns(view(client), "metrics") == ["reward", *COSTS]


def test_page_has_few_of_many_metrics_and_parameters(client: MlflowClient) -> None:
    """So that it fits into a tag, and a person sees something."""
    for number in (0, 1):
        params = {f"a_rather_long_name_of_parameter_{place}": number for place in range(40)}
        log(client, COSTS | {f"a_rather_long_name_of_metric_{place}": 1.0 for place in range(60)}, params)
    found = view(client)
    assert len(columns(found, "params")) == 6
    assert len(columns(found, "metrics")) == 6 + len(COSTS)
    (tag,) = tags_of(client, "1").values()
    print(f"{len(tag)} characters")
    assert len(tag) < 2_500


def test_only_runs_that_are_wanted_are_looked_at_and_shown(client: MlflowClient) -> None:
    """The condition is that of the view, too."""
    log(client, COSTS | {"reward": 1.0}, tag="a")
    log(client, COSTS | {"loss": 1.0}, tag="b")
    wanted = "tags.team = 'a'"
    found = view(client, wanted)
    assert found.state["searchFilter"] == wanted
    assert columns(found, "metrics") == ["reward", *COSTS]


@pytest.mark.parametrize("metrics", [COSTS, SERIES], ids=["ended", "goes-on"])
def test_runs_are_found_behind_many_newer_ones(client: MlflowClient, metrics: dict[str, float]) -> None:
    """Of which none was watched."""
    log(client, metrics)
    for _ in range(MAX_RUNS):
        client.create_run("1")
    assert columns(view(client), "metrics") == list(metrics)


@pytest.mark.parametrize(
    "metrics", [None, {"loss": 1.0, "system/cpu_utilization_percentage": 3.0}], ids=["no", "other"]
)
def test_runs_without_our_figures_have_no_view(client: MlflowClient, metrics: dict[str, float] | None) -> None:
    """Nor does an experiment without runs. MLflow's own system metrics are those of the machine."""
    if metrics:
        log(client, metrics)
    assert save_costs(client, "1", "What runs cost", "", "runs") is None
    assert tags_of(client, "1") == {}


def test_page_holds_for_stopped_trials_why_in_a_wide_column(client: MlflowClient) -> None:
    """A sentence has to be readable where it stands."""
    log(client, COSTS)
    widths = view(client).state["columnWidths"]
    assert widths["tags.`sysmetrics.stop_reason`"] > 2 * widths["metrics.`elapsed_s`"]
