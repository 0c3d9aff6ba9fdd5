"""What a study costs in addition to the training: its search's wall time over that of the bare ``partial_fit`` loop.

    python benchmarks/search_overhead.py [--dataset red_wine] [--pairs 3] [--quick]

Both sides train the same configurations, folds and batches in as many processes, in turn, ``pairs`` times; the
medians of the ratios count. The study logs everything into a new SQLite store. Its trials' ``training_time_s`` is held
against the time that ``partial_fit`` takes in the loop. `--quick`: one pair of a part of the grid.
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

from entrypoints.compute import environment  # noqa: E402

environment.set_defaults()  # libraries read it when they are imported

import bare_loop  # noqa: E402
from records import study_settings  # noqa: E402

from entrypoints.compute import workers  # noqa: E402
from entrypoints.study.plan import planned  # noqa: E402

RESULT = "RESULT "


def settings_for(dataset, cpus, batch_sizes=()):
    """The defaults of ``tune``."""
    arguments = ["--dataset", dataset, "--cpus", str(cpus)]
    if batch_sizes:
        arguments += ["--space", json.dumps({"batch_size": list(batch_sizes)})]
    return study_settings(*arguments)


def study_times(settings):
    """Run a study's search in a new process with a new store."""
    with tempfile.TemporaryDirectory() as folder:
        env = os.environ | {"MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db"}
        child = json.dumps([settings.dataset, settings.cpus, settings.space.get("batch_size", [])])
        command = [sys.executable, __file__, "--child", child]
        done = subprocess.run(command, env=env, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
        line = next(line for line in done.stdout.splitlines() if line.startswith(RESULT))
        return json.loads(line.removeprefix(RESULT))


def run_child(settings):
    """The study's own search, timed from outside its code."""
    from entrypoints.runs.recorded import recorded_run
    from entrypoints.study import running

    study = planned(settings, folder=ROOT)
    began = time.time()
    with recorded_run("study", "benchmark", {}) as study.run, study.backend:
        assert study.data  # is prepared
        fit = time.time()
        cpu_before = time.process_time()
        running.run_trials(study)
        driver_cpu = time.process_time() - cpu_before
    assert all(trial.status == "FINISHED" for trial in study.trials.values()), "a trial did not finish"
    times = {
        "search_s": study.last_end - study.first_start,
        "with_workers_s": study.last_end - fit,
        "ray_init_s": fit - began,
        "driver_cpu_s": driver_cpu,
        "training_time_s": {
            trial.configuration.key: trial.figures["training_time_s"]
            for trial in study.trials.values()
            if not trial.diverged
        },
    }
    click.echo(RESULT + json.dumps(times))


@click.command(help=__doc__)
@click.option("--dataset", default="red_wine", show_default=True)
@click.option("--pairs", default=3, show_default=True)
@click.option("--quick", is_flag=True)
@click.option("--child", hidden=True)
def main(dataset, pairs, quick, child):
    """Measure both sides in turn and print the ratios."""
    if child:
        run_child(settings_for(*json.loads(child)))
        return
    settings = settings_for(dataset, workers.usable_cpus())
    if quick:
        settings, pairs = settings_for(dataset, workers.usable_cpus(), [256, 512]), 1
    study = planned(settings, folder=ROOT)
    data, trials = study.data, study.configurations
    print(
        f"{len(trials)} configurations x {settings.folds} folds of {dataset} in {settings.cpus} processes", flush=True
    )
    search, with_workers, trained = [], [], []
    for pair in range(pairs):
        by_hand = bare_loop.run(trials, data, settings.cpus)
        bare, ours = by_hand.seconds, study_times(settings)
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


if __name__ == "__main__":
    main()
