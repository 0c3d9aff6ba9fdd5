"""What a study costs in addition to the training: its search's wall time over that of the bare ``partial_fit`` loop.

    python benchmarks/search_overhead.py [--dataset red_wine] [--pairs 3] [--cpus 0]

Both sides train the same configurations, folds and batches in as many processes, in turn, ``pairs`` times; the
medians of the ratios count. The study logs everything into a new SQLite store. Its trials' ``training_time_s`` is held
against the time that ``partial_fit`` takes in the loop. Then each layer is added to the loop in turn on a part of the
grid, to show what it costs: the metrics, the sampling thread, Ray Tune, MLflow.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median, quantiles

import click

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks"), str(ROOT / "tests" / "support")]

from entrypoints import environment  # noqa: E402

environment.set_defaults()  # libraries read it when they are imported

import bare_loop  # noqa: E402
from study_settings import study_settings  # noqa: E402

from entrypoints.compute import workers  # noqa: E402
from entrypoints.datasets import known  # noqa: E402
from entrypoints.datasets.prepared import prepared  # noqa: E402
from entrypoints.datasets.splits import make_split  # noqa: E402
from entrypoints.models import algorithms  # noqa: E402
from entrypoints.search.grid import configurations  # noqa: E402

RESULT = "RESULT "
LAYER_SHARE = 4  # the layers are measured on every fourth batch size


def settings_for(dataset, cpus, batch_sizes=()):
    """The defaults of ``tune``."""
    arguments = ["--dataset", dataset, "--cpus", str(cpus)]
    if batch_sizes:
        arguments += ["--space", json.dumps({"batch_size": list(batch_sizes)})]
    return study_settings(*arguments)


def data_for(settings):
    """The data and the grid of a study, made without MLflow."""
    table = known.load(settings.dataset)
    split = make_split(table, folds=settings.folds, seed=settings.seed)
    trials = configurations(settings, split, algorithms.find_all(table.task, settings.algorithm))
    return prepared(table, split), trials


def study_times(settings, tracked):
    """Run a study's search in a new process with a new store; ``tracked`` says whether MLflow is in it."""
    with tempfile.TemporaryDirectory() as folder:
        env = os.environ | {"MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db"}
        child = json.dumps([settings.dataset, settings.cpus, settings.space.get("batch_size", []), tracked])
        command = [sys.executable, __file__, "--child", child]
        done = subprocess.run(command, env=env, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
        line = next(line for line in done.stdout.splitlines() if line.startswith(RESULT))
        return json.loads(line.removeprefix(RESULT))


def run_child(settings, tracked):
    """The study's own search, timed from outside its code."""
    from entrypoints.runs import recorded_run
    from entrypoints.search import running
    from entrypoints.search.plan import planned

    study = planned(settings, folder=ROOT)
    began = time.time()
    if not tracked:
        running.SystemMetricsCallback = NoTracking  # type: ignore[attr-defined,misc]
    with recorded_run("study", "benchmark", {}) as study.run, study.backend:
        assert study.data  # is prepared
        fit = time.time()
        cpu_before = time.process_time()
        running.run_trials(study)
        driver_cpu = time.process_time() - cpu_before
    assert study.first_start is not None
    assert study.last_end is not None
    assert all(trial.status == "FINISHED" for trial in study.trials.values()), "a trial did not finish"
    times = {
        "search_s": study.last_end - study.first_start,
        "with_workers_s": study.last_end - fit,
        "ray_init_s": fit - began,
        "driver_cpu_s": driver_cpu,
        "training_time_s": {
            bare_loop.name(trial.configuration): trial.figures["training_time_s"]
            for trial in study.trials.values()
            if not trial.diverged
        },
    }
    click.echo(RESULT + json.dumps(times))


def _no_tracking():
    from ray import tune

    class Silent(tune.Callback):
        """A callback that keeps nothing."""

        def __init__(self, **kwargs):
            super().__init__()

        def close(self, timeout_s):
            return True

        def run_id(self, trial_id):
            return None

    return Silent


def NoTracking(**kwargs):  # noqa: N802 - stands in for a class
    """A study without MLflow: the same search with a callback that keeps nothing."""
    return _no_tracking()(**kwargs)


@click.command(help=__doc__)
@click.option("--dataset", default="red_wine", show_default=True)
@click.option("--pairs", default=3, show_default=True)
@click.option("--cpus", default=0, show_default=True, help="0: all usable CPU cores")
@click.option("--child", hidden=True)
def main(dataset, pairs, cpus, child):
    """Measure both sides in turn and print the ratios."""
    if child:
        *about, tracked = json.loads(child)
        run_child(settings_for(*about), tracked)
        return
    settings = settings_for(dataset, cpus or workers.usable_cpus())
    data, trials = data_for(settings)
    print(
        f"{len(trials)} configurations x {settings.folds} folds of {dataset} in {settings.cpus} processes", flush=True
    )
    search, with_workers, trained = [], [], []
    for pair in range(pairs):
        by_hand = bare_loop.run(trials, data, settings.cpus)
        bare, ours = by_hand.seconds, study_times(settings, tracked=True)
        search.append(ours["search_s"] / bare)
        with_workers.append(ours["with_workers_s"] / bare)
        trained += [time_s / by_hand.training_time_s[trial] for trial, time_s in ours["training_time_s"].items()]
        click.echo(
            f"pair {pair + 1}: bare loop {bare:.1f} s, study {ours['search_s']:.1f} s "
            f"(with the start of its workers {ours['with_workers_s']:.1f} s; driver CPU {ours['driver_cpu_s']:.1f} s): "
            f"{search[-1]:.3f} x, {with_workers[-1]:.3f} x"
        )
    print(
        f"median: {median(search):.3f} x (target <= 1.10), with workers {median(with_workers):.3f} x (target <= 1.20)"
    )
    low, middle, high = quantiles(trained, n=20)[0], median(trained), quantiles(trained, n=20)[-1]
    click.echo(
        f"training_time_s of {len(trained)} trials over the loop's: {middle:.3f} x, 5 to 95 % {low:.3f} to {high:.3f}"
    )
    layers(settings, trials, pairs)


def layers(settings, trials, pairs):
    """Add one layer after the other to the loop and print what each costs, as a share of the bare loop."""
    sizes = tuple(dict.fromkeys(trial.batch_size for trial in trials))[::LAYER_SHARE]
    part = settings_for(settings.dataset, settings.cpus, sizes)
    data, some = data_for(part)
    times = {}
    for _ in range(pairs):
        for level in bare_loop.LEVELS:
            times.setdefault(level, []).append(bare_loop.run(some, data, settings.cpus, level).seconds)
        times.setdefault("ray", []).append(study_times(part, tracked=False)["search_s"])
        times.setdefault("mlflow", []).append(study_times(part, tracked=True)["search_s"])
    names = {
        "bare": "bare partial_fit loop",
        "metrics": "metrics",
        "sampled": "sampling thread",
        "ray": "Ray Tune",
        "mlflow": "MLflow",
    }
    click.echo(f"\nlayers, on {len(some)} configurations, median of {pairs}:")
    before = base = median(times["bare"])
    for level, values in times.items():
        now = median(values)
        click.echo(f"  {names[level]:28s} {now:7.1f} s  {(now - before) / base:+7.1%}")
        before = now


if __name__ == "__main__":
    main()
