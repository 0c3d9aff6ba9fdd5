"""How long the MLflow UI takes to open the views of a large study, and how many requests it makes for them.

    python benchmarks/views.py [--trials 3000]

It makes the trials with MLflow's client in a new SQLite store, saves the views of the study as `tune` does, starts
`mlflow server`, and opens the plain page of the trials and each view in Chromium. A page counts as open when its first
run is listed and, as charts, its first chart is drawn. It needs playwright and Debian's chromium.
"""

import random
import shutil
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import click

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]

from mlflow import MlflowClient  # noqa: E402
from mlflow.entities import Metric, Param  # noqa: E402
from tracking_server import tracking_server  # noqa: E402

from entrypoints import views  # noqa: E402
from entrypoints.frame import frame_of  # noqa: E402
from entrypoints.limits.grammar import Limits  # noqa: E402
from entrypoints.reading import rows_of  # noqa: E402
from mlflow_sysmetrics.ui import save  # noqa: E402

ROW, DRAWN = ".ag-row a[href*='/runs/']", ".main-svg .trace, .parcoords"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
REPEATS = 3


@click.command(help=__doc__)
@click.option("--trials", default=3000, show_default=True)
def main(trials):
    """Print a line for each page."""
    with tempfile.TemporaryDirectory(prefix="views-") as folder:
        uri = f"sqlite:///{folder}/mlflow.db"
        began = time.monotonic()
        pages = fill(MlflowClient(uri), trials)
        click.echo(f"{trials} trials, made in {time.monotonic() - began:.0f} s")
        with tracking_server(Path(folder)) as port:
            for name, link in pages.items():
                took, requests = zip(*(opened(f"http://127.0.0.1:{port}/{link}") for _ in range(REPEATS)), strict=True)
                click.echo(f"  {name:10} median {median(took):5.1f} s, {max(requests)} requests to the server")


def fill(client, trials):
    """A study of made-up trials; the links of its pages, by their names."""
    draw = random.Random(0)
    study = client.create_run("0", tags={"sysmetrics.kind": "study"})
    for number in range(trials):
        tags = {
            "mlflow.parentRunId": study.info.run_id,
            "sysmetrics.kind": "trial",
            "sysmetrics.diverged": "false",
            "mlflow.runName": f"b{2 ** (number % 9 + 1)} lr0.01",
        }
        run = client.create_run("0", tags=tags)
        own = {name: draw.uniform(1, 2) for name in (*views.COSTS, "val_rmse", "elapsed_s")}
        curves = [Metric(name, draw.random(), 0, step) for name in ("val_loss", "memory_mb") for step in (100, 200)]
        metrics = [Metric(name, value, 0, 0) for name, value in own.items()]
        params = [Param("batch_size", str(2 ** (number % 9 + 1))), Param("alpha", str(number % 3))]
        client.log_batch(run.info.run_id, [*metrics, *curves], params)
        client.set_terminated(run.info.run_id)
    frame = frame_of([rows_of(client, client.get_run(study.info.run_id))])
    pages = views.of_study(frame, time.time(), ("batch_size", "alpha"), Limits(()))
    plain = pages[views.SCORE].plain_link("0")
    return {"no view": plain} | save(client, "0", study.info.run_id, pages)


def opened(url):
    """How long a new browser takes to show a page, in seconds, and how many requests to MLflow's API it makes."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        page = chromium.new_page(viewport={"width": 1600, "height": 1000})
        asked = []
        page.on("request", lambda request: asked.append(request.url) if "ajax-api" in request.url else None)
        began = time.monotonic()
        page.goto(url)
        page.locator(ROW).first.wait_for(timeout=120_000)
        if "compareRunsMode=CHART" in url:
            page.locator(DRAWN).first.wait_for(state="attached", timeout=120_000)
        took = time.monotonic() - began
        chromium.close()
    return took, len(asked)


if __name__ == "__main__":
    main()
