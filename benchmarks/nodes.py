"""The same study on a Ray cluster of three nodes and on one, with one tracking server. Three to five minutes.

    python benchmarks/nodes.py [--dataset red_wine]

The three nodes, of two, one and one CPU cores, are on this machine and have the same cores as the single one: the
cluster is not there to be faster. The best trial and every point of every curve have to be equal. A row says on which
node trials ran, and what the command that runs the search took of a core's time, with its start: while that is far from
all of it, the trials do not wait for it.
"""

from __future__ import annotations

import resource
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import click
from mlflow import MlflowClient
from mlflow.entities import Run

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]

from commands import Command, children, clean_environment, project_line, runs_of_kind  # noqa: E402
from ray_nodes import ray_nodes  # noqa: E402
from tracking_server import tracking_server  # noqa: E402
from two_studies import Curves, curves_of  # noqa: E402

CPUS = [2, 1, 1]


@dataclass(frozen=True)
class Ran:
    """A study that has been run."""

    study: Run
    trials: list[Run]
    curves: Curves
    seconds: float
    driver_cpu_s: float


def run(uri, folder, **params):
    """Run the study, whose output is in a folder."""
    line = project_line("tune", params)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = Command(line, cwd=folder, output=folder / "output", env=clean_environment(MLFLOW_TRACKING_URI=uri)).wait(900)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.exit_code:
        raise click.ClickException(done.stderr)
    client = MlflowClient(uri)
    study = runs_of_kind(client, "study")[0]  # the newest
    trials = children(client, study, "trial")
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Ran(study, trials, curves_of(client, trials), done.seconds, cpu_s)


def best_score(study):
    """The metric that the dataset's models are ranked by."""
    names = [name for name in ("best_val_rmse", "best_val_accuracy") if name in study.data.metrics]
    return ", ".join(f"{name} {study.data.metrics[name]:.6f}" for name in names)


def show(where, ran):
    """Print a row."""
    statuses = Counter(trial.info.status for trial in ran.trials)
    nodes = Counter(trial.data.tags["sysmetrics.ray_node_id"] for trial in ran.trials)
    best_run_id = ran.study.data.tags["sysmetrics.best_trial_run_id"]
    best = next(trial for trial in ran.trials if trial.info.run_id == best_run_id)
    share = 100 * ran.driver_cpu_s / ran.seconds
    click.echo(f"{where}: {ran.seconds:.0f} s; {dict(statuses)}; trials by node: {sorted(nodes.values())}")
    click.echo(f"  best: {best.info.run_name}, {best_score(ran.study)}")
    click.echo(f"  CPU of the command and what it waits for: {ran.driver_cpu_s:.1f} s, {share:.0f} % of a core")


@click.command(help=__doc__)
@click.option("--dataset", default="red_wine", show_default=True)
def main(dataset):
    """Run both and compare."""
    with tempfile.TemporaryDirectory() as scratch:
        folders = [Path(scratch) / name for name in ("store", "nodes", "several", "one")]
        for folder in folders:
            folder.mkdir()
        store, nodes_folder, several, one = folders
        with tracking_server(store) as port:
            uri = f"http://127.0.0.1:{port}"
            with ray_nodes(nodes_folder, CPUS) as nodes:
                on_nodes = run(uri, several, dataset=dataset, ray_address=nodes.address)
            alone = run(uri, one, dataset=dataset)
    show(f"{len(CPUS)} nodes", on_nodes)
    show("1 node", alone)
    keys = on_nodes.curves.keys() | alone.curves.keys()
    equal = sum(len(on_nodes.curves[key]) for key in keys if on_nodes.curves.get(key) == alone.curves.get(key))
    of_all = max(sum(map(len, ran.curves.values())) for ran in (on_nodes, alone))
    click.echo(f"curve points that are equal in both: {equal} of {of_all}")


if __name__ == "__main__":
    main()
