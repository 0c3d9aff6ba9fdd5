"""The defects of Ray's `MLflowLoggerCallback`, and what ours does there: `python benchmarks/stock_defects.py`.

Four minutes. The same sweeps run with the stock callback and with ours, each in a new store, in a process for each. A
row prints the defect, what was observed of either, and whether ours is right. Runs of both are counted by status, with
the study's run among ours; *losses* are the points of a metric in each trial's run. The exit code is 1 if one of ours
is wrong.
"""

from __future__ import annotations

import logging
import math
import os
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import mlflow
import ray
from mlflow import MlflowClient
from ray import tune
from ray.tune.logger.mlflow import MLflowLoggerCallback
from ray.tune.schedulers import ASHAScheduler
from sqlalchemy import event
from sqlalchemy.engine import Engine

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]

from fault_proxy import FaultProxy  # noqa: E402
from observations import observe, start_ray, tell  # noqa: E402
from tracking_server import tracking_server  # noqa: E402
from tune_sweeps import (  # noqa: E402
    AtResult,
    Place,
    environment,
    fit,
    perturbing,
    trainables,
    tuner,
)

from mlflow_sysmetrics.metrics import SUMMARY  # noqa: E402
from mlflow_sysmetrics.ray_tune import SystemMetricsCallback  # noqa: E402

CALLBACKS = {"stock": MLflowLoggerCallback, "ours": SystemMetricsCallback}
REPORTED = {"loss", *SUMMARY}  # by the trial, and by our callback of the trial's process
LONG = {"steps": 10_000, "step_s": 0.1}


class StopAll(tune.Stopper):
    """Ends the whole sweep after four results."""

    seen = 0

    def __call__(self, trial_id, result):
        self.seen += 1
        return False

    def stop_all(self):
        return self.seen >= 4


def interrupt():
    """What Ctrl-C does."""
    os.kill(os.getpid(), signal.SIGINT)


def endings(callback, here):
    """The runs' statuses after each way to end a sweep of two long trials before they end."""
    begun = str(here.folder / "begun")
    ways = {
        "time budget": {"tuning": {"time_budget_s": 8.0}},  # from before the first worker is up
        "stop-all": {"stop": StopAll()},
        "fail-fast": {"failure_config": tune.FailureConfig(fail_fast=True)},
        "Ctrl-C": {},
    }
    for way, settings in ways.items():
        more = [AtResult(2, interrupt, here.folder / "interrupted")] if way == "Ctrl-C" else []
        fails = {"fails": 3, "after": begun} if way == "fail-fast" else {}
        cases = [LONG | fails, LONG | {"begun": begun}]
        fit(tuner([callback(here.uri, experiment_name=way), *more], cases, name=way, **settings))
        if not here.runs(way):  # on a busy machine the time was up before a trial began
            settings = {"tuning": {"time_budget_s": 60.0}}
            fit(tuner([callback(here.uri, experiment_name=way)], cases, name=f"{way} again", **settings))
        Path(begun).unlink(missing_ok=True)
    return {way: here.statuses(way) for way in ways}


def setup_failure(callback, here):
    """What becomes of a sweep of which one trial cannot be set up."""
    error = fit(tuner([callback(here.uri, experiment_name="x")], [{"fails": "setup"}, {}, {}]))
    return {"error": error, "trials": here.trial_statuses()}


def server_away(callback, here):
    """What becomes of a sweep whose tracking server is away for a while from the third result on."""
    with tracking_server(here.folder) as port, FaultProxy(port) as proxy:

        def go_away():
            proxy.fault = "refuse"
            timer.start()

        timer = threading.Timer(3.0, setattr, (proxy, "fault", None))
        away = AtResult(3, go_away, here.folder / "away")
        mlflow.set_tracking_uri(proxy.uri)
        error = fit(tuner([away, callback(proxy.uri, experiment_name="x")], [{"steps": 8}] * 2))
        timer.join()
    mlflow.set_tracking_uri(here.uri)
    server = Place(here.folder, "mlflow.db")
    losses = [len(server.history(run, "loss")) for run in server.trials()]
    return {"error": error, "trials": server.trial_statuses(), "losses": losses}


def refused_name(callback, here):
    """What becomes of a sweep with a metric whose name MLflow refuses."""
    error = fit(tuner([callback(here.uri, experiment_name="x")], [{"more": {"error %": 1.0}}, {}]))
    losses = [len(here.history(run, "loss")) for run in here.trials()]
    return {"error": error, "trials": here.trial_statuses(), "losses": losses}


def parents(callback, here):
    """How many of two trials are nested under the active run, and under any run where none is active."""
    with mlflow.start_run(experiment_id=here.client.create_experiment("active")) as active:
        fit(tuner([callback(here.uri, experiment_name="active")], [{}, {}], name="active"))
    fit(tuner([callback(here.uri, experiment_name="alone")], [{}, {}], name="alone"))
    known = {run.info.run_id for run in here.runs()}
    of = {name: [run.data.tags.get("mlflow.parentRunId") for run in here.trials(name)] for name in ("active", "alone")}
    nested = {"active": of["active"].count(active.info.run_id), "alone": sum(each in known for each in of["alone"])}
    return nested | {"parents alone": len(set(of["alone"]) - {None})}


def inherited_experiment(callback, here):
    """Where runs go that were given an experiment's name, under a MLFLOW_EXPERIMENT_ID from elsewhere."""
    with environment(MLFLOW_EXPERIMENT_ID=here.client.create_experiment("inherited")):
        fit(tuner([callback(here.uri, experiment_name="given")], [{}]))
    return {name: len(here.trials(name)) for name in ("given", "inherited")}


def inherited_run(callback, here):
    """Where a run goes that a trial begins by itself, under the MLFLOW_RUN_ID that `mlflow run` gives a driver."""
    run_id = here.client.create_run("0").info.run_id

    def train(config):
        with mlflow.start_run():
            mlflow.log_metric("inside", 1.0)
        tune.report({"loss": 1.0})

    with environment(MLFLOW_RUN_ID=run_id, MLFLOW_TRACKING_URI=here.uri, MLFLOW_EXPERIMENT_ID="0"):
        made = callback(here.uri, experiment_name="x")
        start_ray()
        error = fit(tuner([made], [{}], trainable=train))
        ray.shutdown()
    inside = [run for run in here.runs() if "inside" in run.data.metrics]
    return {"error": error, "written into the driver's run": [run.info.run_id == run_id for run in inside]}


def driver_uri(callback, here):
    """Whether the driver's own store is used and stays, where the callback is given none."""
    fit(tuner([callback(experiment_name="x")], [{}]))
    return {"kept": mlflow.get_tracking_uri() == here.uri, "trials there": len(here.trials())}


def transactions(callback, here):
    """The transactions for a trial that reports eleven metrics ten times."""
    counts = Counter()
    more = {f"metric_{number}": 1.0 for number in range(10)}

    def count(connection):
        counts["transactions"] += 1

    event.listen(Engine, "commit", count)
    try:
        fit(tuner([callback(here.uri, experiment_name="x")], [{"steps": 10, "more": more}]))
    finally:
        event.remove(Engine, "commit", count)
    return {"values": 110, **counts}


def bookkeeping(callback, here):
    """The metrics of a trial that reported `loss` and whose id is, as one in eight is, a number: 12345_00000."""
    with environment(_TEST_TUNE_TRIAL_UUID="12345"):
        fit(tuner([callback(here.uri, experiment_name="x")], [{"steps": 3}]))
    (run,) = here.trials()
    others = [name for name in run.data.metrics if name not in REPORTED and not name.startswith("system/")]
    config = [name for name in others if name.startswith("config/")]
    return {"loss": run.data.metrics.get("loss"), "others": len(others), "config": len(config)} | {
        "trial_id": run.data.metrics.get("trial_id")
    }


def restored(callback, here):
    """The runs of two trials of a sweep that was interrupted and restored."""
    stop = AtResult(3, interrupt, here.folder / "interrupted")
    checkpoints = tune.CheckpointConfig(checkpoint_frequency=1)
    cases = [{"steps": 6, "step_s": 0.3}] * 2
    fit(tuner([callback(here.uri, experiment_name="x"), stop], cases, checkpoint_config=checkpoints))
    error = fit(tune.Tuner.restore(str(here.folder / "tune" / "sweep"), trainables()["class"], resume_unfinished=True))
    steps = [[step for step, _ in here.history(run, "loss")] for run in here.trials()]
    return {"error": error, "trials": here.trial_statuses(), "steps": steps, "runs": here.statuses()}


def not_finite(callback, here):
    """What the store holds of the losses 1, NaN and infinity."""
    fit(tuner([callback(here.uri, experiment_name="x")], [{"losses": {2: float("nan"), 3: float("inf")}}]))
    (run,) = here.trials()
    return {"losses": [value for _, value in here.history(run, "loss")], "tag": _tag(run, "sysmetrics.not_finite")}


def perturbed(callback, here):
    """What becomes of a sweep with population based training, which changes a parameter of a trial in its course."""
    sweep = tuner(
        [callback(here.uri, experiment_name="x")],
        [{"steps": 5, "loss": 1.0}, {"steps": 5, "loss": 9.0}],
        space={"rate": 1},
        tuning={"scheduler": perturbing(), "metric": "loss", "mode": "min"},
        checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=2),
    )
    error = fit(sweep)
    changed = [_tag(run, "sysmetrics.changed.rate") for run in here.trials()]
    return {"error": error, "trials": here.trial_statuses(), "changed": changed}


def identity(callback, here):
    """Which tags say who ran a trial and from what."""
    fit(tuner([callback(here.uri, experiment_name="x")], [{}]))
    (run,) = here.trials()
    return {name: _tag(run, name) for name in ("mlflow.user", "mlflow.source.name", "mlflow.source.type")}


def early_stopped(callback, here):
    """The statuses of a trial that runs to its end and of one that ASHA stops after its first result."""
    asha = ASHAScheduler(time_attr="training_iteration", max_t=100, grace_period=1, reduction_factor=2)
    tuning = {"scheduler": asha, "metric": "loss", "mode": "min", "max_concurrent_trials": 1}
    fit(tuner([callback(here.uri, experiment_name="x")], [{"loss": 1.0}, {"loss": 9.0}], tuning=tuning))
    runs = {run.data.params["case/loss"]: run for run in here.trials()}
    stopped = runs["9.0"]
    reason = _tag(stopped, "sysmetrics.stop_reason")
    results = len(here.history(stopped, "loss"))
    return {"ended": runs["1.0"].info.status, "stopped": stopped.info.status, "its results": results, "reason": reason}


def _tag(run, name):
    return run.data.tags.get(name)  # type: ignore[no-any-return]


CASES = (
    *(endings, setup_failure, server_away, refused_name, parents, inherited_experiment, driver_uri, transactions),
    *(bookkeeping, restored, not_finite, perturbed, identity, early_stopped, inherited_run),
)
STARTS_RAY = ("inherited_run",)  # in its environment


@dataclass(frozen=True)
class Defect:
    """One row. `faults` says, of what a case observed, which parts of the defect it shows."""

    number: int
    title: str
    cases: tuple[str, ...]
    faults: Callable[..., dict[str, bool]]

    def shown(self, observations):
        """The parts of the defect that are there; a case that could not be observed is one, too."""
        observed = [observations[case] for case in self.cases]
        broken = [str(each["broken"]) for each in observed if "broken" in each]
        return broken or [part for part, is_there in self.faults(*observed).items() if is_there]

    def words(self, observations):
        """What was observed, in one line."""
        pairs = [pair for case in self.cases for pair in observations[case].items() if pair[0] != "seconds"]
        return "; ".join(f"{name}: {_short(value)}" for name, value in pairs)


def _short(value):
    if isinstance(value, dict):
        return ", ".join(f"{number} {name}" for name, number in value.items()) or "no runs"
    if isinstance(value, list):
        return ", ".join(f"({_short(each)})" if isinstance(each, list) else _short(each) for each in value) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    return "none" if value is None else str(value)


def _left_running(endings):
    return {way: bool(statuses.get("RUNNING")) or not statuses for way, statuses in endings.items() if way != "seconds"}


def _setup(sweep):
    whole = sweep["trials"] == ["FAILED", "FINISHED", "FINISHED"]
    return {"the sweep ends": sweep["error"] is not None, "trials are missing": not whole}


def _tracking_error(away, refused):
    return {
        "the server's absence ends the sweep": away["error"] is not None,
        "results are lost": away["losses"] != [8, 8],
        "a name that is refused ends the sweep": refused["error"] is not None,
        "results beside the name are lost": refused["losses"] != [3, 3],
    }


def _parents(found):
    alone = (found["alone"], found["parents alone"]) == (2, 1)
    return {"not under the active run": found["active"] != 2, "no run for the study": not alone}


def _wrong_place(experiment, run):
    return {
        "into the inherited experiment": experiment != experiment | {"given": 1, "inherited": 0},
        "into the inherited run": run["error"] is not None or run["written into the driver's run"] != [False],
    }


def _not_reported(metrics):
    number, config = metrics["trial_id"] is not None, metrics["config"]
    return {
        "bookkeeping": metrics["others"] > config + number,
        "config": config > 0,
        "a number made of the trial's id": number,
    }


def _duplicates(restored):
    whole = restored["error"] is None and restored["trials"] == ["FINISHED", "FINISHED"]
    return {"more runs than trials": not whole, "cut curves": restored["steps"] != [[1, 2, 3, 4, 5, 6]] * 2}


def _not_finite(stored):
    losses = stored["losses"]
    return {
        "NaN is stored": any(math.isnan(loss) for loss in losses),
        "infinity is stored, as a finite number": any(loss > 1e308 for loss in losses),
        "no tag says so": stored["tag"] is None or 1.0 not in losses,
    }


def _perturbed(sweep):
    whole = sweep["error"] is None and sweep["trials"] == ["FINISHED", "FINISHED"]
    return {
        "the sweep ends": not whole,
        "the change is not recorded": "7" not in sweep["changed"],
    }


DEFECTS = (
    Defect(1, "runs left RUNNING after a time budget, stop-all, fail-fast, Ctrl-C", ("endings",), _left_running),
    Defect(2, "one trial failing in `setup` ends the sweep", ("setup_failure",), _setup),
    Defect(3, "any tracking error ends the sweep", ("server_away", "refused_name"), _tracking_error),
    Defect(4, "no parent and child runs", ("parents",), _parents),
    Defect(
        *(5, "an inherited MLFLOW_EXPERIMENT_ID or MLFLOW_RUN_ID sends runs to the wrong place"),
        *(("inherited_experiment", "inherited_run"), _wrong_place),
    ),
    Defect(
        *(6, "`tracking_uri=None` resets the driver's", ("driver_uri",)),
        lambda uri: {"reset": not uri["kept"], "runs elsewhere": uri["trials there"] != 1},
    ),
    Defect(
        *(7, "one transaction per metric and more", ("transactions",)),
        lambda made: {"many transactions": made["transactions"] > made["values"] / 2},
    ),
    Defect(
        *(8, "Ray's bookkeeping, `config/*` and a trial's id logged as metrics", ("bookkeeping",), _not_reported),
    ),
    Defect(9, "`Tuner.restore` makes duplicate runs", ("restored",), _duplicates),
    Defect(10, "NaN and infinity are stored", ("not_finite",), _not_finite),
    Defect(11, "parameters that PBT changes raise", ("perturbed",), _perturbed),
    Defect(
        *(12, "no user or source tags", ("identity",)),
        lambda tags: {name: not tags[name] for name in tags if name != "seconds"},
    ),
    Defect(
        *(13, "an early-stopped trial looks like a finished one", ("early_stopped",)),
        lambda runs: {"the same status": runs["stopped"] != "KILLED", "no reason": not runs["reason"]},
    ),
)


def new_store(folder):
    """A store that holds nothing, to be copied."""
    file = folder / "empty.db"
    MlflowClient(f"sqlite:///{file}").search_experiments()
    return file


def show(stock, ours):
    """Print the table; how many rows of ours are wrong."""
    wrong = 0
    print("| # | defect | stock | ours | ours is right |\n|---|---|---|---|---|")
    for defect in DEFECTS:
        faults = defect.shown(ours)
        wrong += bool(faults)
        verdict = f"NO: {', '.join(faults)}" if faults else "yes"
        seen = "" if defect.shown(stock) else " (not seen)"
        cells = (defect.number, defect.title, defect.words(stock) + seen, defect.words(ours), verdict)
        print(f"| {' | '.join(str(cell) for cell in cells)} |", flush=True)
    return wrong


def main():
    logging.disable(logging.INFO)  # of MLflow, which makes a store
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        empty = new_store(Path(folder))
        stock, ours = (observe(__file__, each, str(empty)) for each in CALLBACKS)
    wrong = show(stock, ours)
    print(f"{len(DEFECTS) - wrong} of {len(DEFECTS)} right, {time.monotonic() - began:.0f} s")
    return 1 if wrong else 0


if __name__ == "__main__":
    if len(sys.argv) > 1:
        tell(CASES, sys.argv[2], CALLBACKS[sys.argv[1]], without_ray=STARTS_RAY)
    else:
        sys.exit(main())
