"""Two studies at once on one tracking server, and what is in its store afterwards."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass

from commands import Command, children, clean_environment, project_line, runs_of_kind
from mlflow import MlflowClient
from tracking_server import tracking_server

CURVES = ("train_loss", "val_loss", "val_rmse")
STUDIES = 2
LIMIT_S = 900.0
Curves = dict[tuple[str, str], dict[int, float]]  # of one study: by trial and curve, its values by step


@dataclass(frozen=True)
class Left:
    """What two studies have left."""

    seconds: float
    exit_codes: list[int]
    statuses: Counter[str]
    trials: int
    curves: list[Curves]
    series_points: int
    server_errors: list[str]

    @property
    def twice(self):
        """Runs that have the name of another one of their study."""
        names = [len({name for name, _ in study}) for study in self.curves]
        return self.trials - sum(names)


def two_studies(folder, store_uri, **params):
    """Run the same study twice at once; the server and the studies' output are in a folder.

    Args:
        folder: for the server's log and artifacts, and its store if no other one is given.
        store_uri: the server's database.
        params: of ``tune``.
    """
    line = project_line("tune", params)
    with tracking_server(folder, store_uri=store_uri) as port:
        env = clean_environment(MLFLOW_TRACKING_URI=f"http://127.0.0.1:{port}")
        began = time.monotonic()
        outputs = [folder / f"study{each}" for each in range(STUDIES)]
        commands = [Command(line, cwd=folder, output=output, env=env, warm=True) for output in outputs]
        codes = [command.wait(LIMIT_S).exit_code for command in commands]
        seconds = time.monotonic() - began
        errors = [text for text in (folder / "server.log").read_text().splitlines() if " ERROR " in text]
        return _left(MlflowClient(f"http://127.0.0.1:{port}"), seconds, codes, errors)


def _left(client, seconds, codes, errors):
    statuses, series = Counter[str](), 0
    studies = [(study, children(client, study, "trial")) for study in runs_of_kind(client, "study")]
    for study, trials in studies:
        statuses.update(run.info.status for run in (study, *trials))
        series += sum(len(client.get_metric_history(run.info.run_id, "system/process_memory_mb")) for run in trials)
    curves = [curves_of(client, trials) for _, trials in studies]
    return Left(seconds, codes, statuses, sum(len(trials) for _, trials in studies), curves, series, errors)


def curves_of(client, trials):
    """What is the same wherever and whenever a study's trials run."""
    return {
        (run.data.tags["mlflow.runName"], curve): {
            point.step: point.value for point in client.get_metric_history(run.info.run_id, curve)
        }
        for run in trials
        for curve in CURVES
    }
