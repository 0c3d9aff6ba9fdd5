"""Are the figures of `mlflow-sysmetrics served` those that another load tool finds, on a quiet machine?

    apt-get install hey
    python benchmarks/served.py [--blocks 12] [models:/m/1 ...]

Of each model, by default of some that are logged here by hand: latency by our client beside `hey`, one stream each, on
one server, and beside `hey` on a server of `mlflow models serve`; in blocks of 50 requests of the same row, in an order
that a coin decides. Memory beside the kernel's own high-water mark less what is shared (VmHWM - RssFile - RssShmem).
And the seconds that the command takes.
"""

import contextlib
import csv
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import click
import mlflow
from lightgbm import LGBMRegressor
from mlflow.models import infer_signature
from sklearn.datasets import load_diabetes
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestRegressor
from sklearn.linear_model import Ridge
from sklearn.neural_network import MLPRegressor

from mlflow_sysmetrics.served import asked, downloaded, one_by_one, served_costs, serving, table_of, warm_up
from mlflow_sysmetrics.served.figures import percentile

IN_BLOCK = 50
MODELS = {
    "linear": Ridge(),
    "forest of 100": RandomForestRegressor(100, random_state=0),
    "forest of 300": RandomForestRegressor(300, random_state=0),
    "boosting": HistGradientBoostingRegressor(random_state=0),
    "mlp": MLPRegressor(hidden_layer_sizes=(64,), max_iter=50, random_state=0),
    "LightGBM": LGBMRegressor(verbose=-1),
}


def log_models():
    """Addresses of the models above, in a new store."""
    mlflow.set_tracking_uri(f"sqlite:///{tempfile.mkdtemp()}/mlflow.db")
    mlflow.set_experiment(experiment_id=mlflow.create_experiment("served", artifact_location=tempfile.mkdtemp()))
    X, y = load_diabetes(return_X_y=True, as_frame=True)
    found = {}
    for name, model in MODELS.items():
        model.fit(X, y)
        given = {"name": name, "input_example": X.head(20), "signature": infer_signature(X, y)}
        info = mlflow.sklearn.log_model(model, serialization_format="cloudpickle", **given)
        found[name] = f"models:/{info.model_id}"
    return found


def hey(port, body):
    """Seconds of a block of requests, without the first, which connects."""
    line = ["hey", "-n", str(IN_BLOCK), "-c", "1", "-m", "POST", "-T", "application/json", "-D", str(body), "-o", "csv"]
    done = subprocess.run([*line, f"http://127.0.0.1:{port}/invocations"], capture_output=True, text=True, check=True)
    rows = list(csv.DictReader(done.stdout.splitlines()))
    assert {row["status-code"] for row in rows} == {"200"}
    return [float(row["response-time"]) for row in rows[1:]]


@contextlib.contextmanager
def models_serve(uri, request):
    """MLflow's own command on a free port, warmed up."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    line = [sys.executable, "-m", "mlflow", "models", "serve", "-m", uri, "-p", str(port), "--env-manager", "local"]
    environment = os.environ | {"MLFLOW_TRACKING_URI": mlflow.get_tracking_uri()}
    serve = subprocess.Popen(
        line, env=environment, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        for _ in range(300):
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"http://127.0.0.1:{port}/ping")
                break
            time.sleep(0.2)
        yield port
    finally:
        os.killpg(serve.pid, signal.SIGTERM)
        serve.wait()


def high_water_mb(pid):
    """The most that a process has had, less what is shared now."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    size = {name: int(status[name].split()[0]) for name in ("VmHWM", "RssFile", "RssShmem")}
    return 1.024e-3 * (size["VmHWM"] - size["RssFile"] - size["RssShmem"])


def compare(name, uri, blocks, body):
    """Print a line for one model."""
    with downloaded(uri) as model, serving(model) as (server,):
        request = one_by_one(table_of(model))[0]
        body.write_bytes(request.partition(b"\r\n\r\n")[2])

        def ours():
            with server.connected() as connection:
                return [asked(connection, request) for _ in range(IN_BLOCK)][1:]

        with server.connected() as connection:
            warm_up(connection, [request])
        with models_serve(uri, request) as port:
            hey(port, body)
            ways = {
                "ours": ours,
                "hey": lambda: hey(server.port, body),
                "hey, models serve": lambda: hey(port, body),
            }
            times = {way: [] for way in ways}
            for _ in range(blocks):
                for way in random.sample(list(ways), len(ways)):
                    times[way] += ways[way]()
        (pid,) = server.pids
        memory_mb = server.memory_mb() or 0.0
        mark_mb = high_water_mb(pid)
    parts = []
    for percent in (50, 95):
        mine = percentile(times["ours"], percent)
        others = [percentile(times[way], percent) for way in ("hey", "hey, models serve")]
        ratios = ", ".join(f"{mine / other - 1:+.1%}" for other in others)
        parts.append(f"p{percent} {1e3 * mine:.2f} ms ({ratios})")
    began = time.monotonic()
    costs = served_costs(uri)
    seconds = time.monotonic() - began
    busy = ", machine busy" if costs.contention.is_busy else ""
    print(f"{name:14} {parts[0]}  {parts[1]}  memory {memory_mb:.1f} MB ({memory_mb / mark_mb - 1:+.1%})  ", end="")
    print(f"the command {seconds:.0f} s, p50 {costs.figures['served_p50_ms']:.2f} ms{busy}", flush=True)


@click.command()
@click.option("--blocks", default=12, show_default=True)
@click.argument("uris", nargs=-1)
def main(blocks, uris):
    """In parentheses: how far ours is from `hey` on the same server, and from `hey` on `mlflow models serve`."""
    models = {uri: uri for uri in uris} or log_models()
    with tempfile.TemporaryDirectory() as folder:
        for name, uri in models.items():
            compare(name, uri, blocks, Path(folder) / "row.json")


if __name__ == "__main__":
    main()
