"""The command line: watch a command without touching its code, deliver waiting metrics, show them."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import click

T = TypeVar("T")

# Defaults for MLflow in this process: print nothing into the command's output, and do not retry for long.
_OWN_ENVIRONMENT = {
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
}


@click.group()
@click.version_option(package_name="mlflow-sysmetrics-bundle")
def main() -> None:
    """Log what a program itself costs (CPU, memory, and more) into its MLflow run.

    \b
    Examples:
      mlflow-sysmetrics run -- python train.py --epochs 3
      mlflow-sysmetrics run --run-name night --groups process,gpu -- ./train.sh
      mlflow-sysmetrics run --criteria "peak_memory_mb<=8000" -- python train.py
      mlflow-sysmetrics doctor
      mlflow-sysmetrics views
      mlflow-sysmetrics ui
      mlflow-sysmetrics sync

    The charts are in the run's tab "System metrics". Which server is used is up to MLFLOW_TRACKING_URI, as always.
    """


@main.command(context_settings={"allow_interspersed_args": False})
@click.option("--run-name", metavar="NAME", help="Name of the new run; by default MLflow makes one up.")
@click.option(
    "--experiment-name",
    metavar="NAME",
    help="Experiment of the new run, made if there is none; by default MLFLOW_EXPERIMENT_NAME or MLFLOW_EXPERIMENT_ID "
    "says which. Where the program calls mlflow.set_experiment, give the same name here.",
)
@click.option(
    "--interval-s",
    metavar="SECONDS",
    type=float,
    default=0.1,
    show_default=True,
    help="Seconds between two readings.",
)
@click.option(
    "--groups",
    metavar="NAMES",
    default="process",
    show_default=True,
    help="What to read, separated by commas: process (the command and all below it), container (limits and use), "
    "gpu (use by these processes).",
)
@click.option(
    "--criteria",
    metavar="LIMITS",
    default="",
    help='End the command when it breaks one of these, such as "peak_memory_mb<=8000, elapsed_s<=7200, '
    'mean_cpu_percent>=5 after 10m". Figures: elapsed_s, cpu_seconds, mean_cpu_percent, peak_memory_mb, '
    "memory_growth_mb, peak_gpu_memory_mb.",
)
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def run(
    command: tuple[str, ...],
    run_name: str | None,
    experiment_name: str | None,
    interval_s: float,
    groups: str,
    criteria: str,
) -> None:
    """Run COMMAND, and log what its processes use into an MLflow run.

    \b
    Examples:
      mlflow-sysmetrics run -- python train.py --epochs 3
      mlflow-sysmetrics run --criteria "peak_memory_mb<=8000, elapsed_s<=7200" -- ./train.sh
      MLFLOW_RUN_ID=0a1b... mlflow-sysmetrics run -- ./resume.sh

    The run is a new one, or the one that MLFLOW_RUN_ID names. What the program itself logs with mlflow goes to the same
    run. The program is watched from outside: its code, input, output, signals and exit code do not change. A new run
    ends as FINISHED, as FAILED if the exit code is not 0, or as KILLED if a signal ended it.

    A command that breaks a limit, or whose run gets the tag sysmetrics.stop in the MLflow UI, is ended with all
    processes below it: by SIGTERM, and ten seconds later by SIGKILL. The tag sysmetrics.stop_reason says why, and the
    exit code is 124. A new run is KILLED; one that MLFLOW_RUN_ID names keeps its status.
    """
    if os.environ.get("MLFLOW_RUN_ID") and (run_name or experiment_name):
        raise click.UsageError(
            "MLFLOW_RUN_ID names a run that exists; unset it, or leave out --run-name and --experiment-name"
        )
    environment = dict(os.environ)  # the command's
    _set_own_environment()  # before MLflow is imported, which reads it then
    from mlflow_sysmetrics.command.outside import Settings

    try:
        settings = Settings.of(interval_s, groups, criteria)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    from mlflow_sysmetrics.command.passthrough import end_as
    from mlflow_sysmetrics.command.run import NoRunError, run_command

    try:
        ended = run_command(command, environment, settings, run_name=run_name, experiment_name=experiment_name)
    except NoRunError as error:
        raise click.ClickException(str(error)) from None
    end_as(ended)


@main.command()
@click.argument("name", required=False, default="")
@click.option("--end", is_flag=True, help="End the current phase without beginning another.")
def phase(name: str, end: bool) -> None:
    """Mark in a script that the phase NAME begins; the phase before it ends.

    \b
    Examples:
      mlflow-sysmetrics phase load
      mlflow-sysmetrics phase train
      mlflow-sysmetrics phase --end

    For scripts that run under `mlflow-sysmetrics run` or the backend system-metrics. Their run gets the costs of each
    phase (phase/load/elapsed_s, cpu_seconds and peak_memory_mb) and a figure over time, phases.png. In Python, use
    `with SystemMetricsLogger() as logger, logger.phase("load"):`.
    """
    from mlflow_sysmetrics.command.phase_marks import NotWatchedError, mark

    if bool(name.strip()) == end:
        raise click.UsageError("give the name of the phase that begins, or --end")
    try:
        mark(name)
    except NotWatchedError as error:
        raise click.ClickException(str(error)) from None


@main.command()
@click.option(
    "--folder",
    metavar="FOLDER",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of the waiting metrics; by default the logger's.",
)
@click.option(
    "--tracking-uri", metavar="URI", help="Send all metrics to this server; by default each file names its own."
)
def sync(folder: Path | None, tracking_uri: str | None) -> None:
    """Deliver metrics that could not be sent while the server was away.

    A program that ends while its server is away leaves its last metrics in a file. This command sends them, and removes
    what has arrived. Run it as often as you like: no point is stored twice. The exit code is 1 while something is left.
    """
    _set_own_environment()
    from mlflow_sysmetrics.delivery.sync import deliver

    delivered = deliver(folder, tracking_uri)
    click.echo(delivered)
    if delivered.left:
        sys.exit(1)


@main.command()
def doctor() -> None:
    """Check what can be recorded on this machine, and say why the rest cannot.

    Reads each group of metrics, times MLflow's store with a run that it deletes again, and counts the files that wait
    for `mlflow-sysmetrics sync`. The exit code is 1 if nothing could be recorded.
    """
    _set_own_environment()
    from mlflow_sysmetrics.command.doctor import examine

    report = examine()
    click.echo(report)
    if not report.can_record:
        sys.exit(1)


@main.command()
@click.option("--experiment-name", metavar="NAME", help="Only this experiment; by default all that have such runs.")
def views(experiment_name: str | None) -> None:
    """Prepare a page of the MLflow UI that compares runs by what they cost, and print its link.

    \b
    Examples:
      mlflow-sysmetrics views
      mlflow-sysmetrics views --experiment-name night

    It is the view "What runs cost" in the menu Views of each experiment whose runs have system metrics of their
    process. Call it again when newer runs have logged other metrics. A view that you have changed in the UI stays as
    it is.
    """
    _set_own_environment()
    import mlflow

    from mlflow_sysmetrics.ui import save_views

    uri = mlflow.get_tracking_uri()
    saved = _asked(uri, lambda: save_views(uri, experiment_name))
    if not saved:
        raise click.ClickException(
            f"no run of {experiment_name or 'any experiment'} has system metrics of its process; record some with "
            "`mlflow-sysmetrics run`, SystemMetricsLogger or SystemMetricsCallback"
        )
    for name, link in saved.items():
        click.echo(f"{name}:\n  {link}")


@main.command()
@click.option(
    "--experiment-name", metavar="NAME", help="Look for the newest study or run in this experiment; by default in all."
)
@click.option(
    "--tracking-uri",
    metavar="URI",
    help="The store to show; by default MLFLOW_TRACKING_URI, or else what MLflow finds in the current folder. Give a "
    "password in MLFLOW_TRACKING_URI, not here: others see the options of a command.",
)
@click.option(
    "--port",
    metavar="PORT",
    type=click.IntRange(1, 65535),
    default=5000,
    show_default=True,
    help="Port of the server. Where another program listens on it, the next free one is taken.",
)
@click.option("--no-browser", is_flag=True, help="Print the address only.")
def ui(experiment_name: str | None, tracking_uri: str | None, port: int, no_browser: bool) -> None:
    """Show the newest study in the MLflow UI, or else what the newest runs have cost.

    \b
    Examples:
      mlflow-sysmetrics ui
      mlflow-sysmetrics ui --experiment-name night --no-browser

    Prints the address of the page, and opens it where there is a browser. What a study shows before its end, and the
    view "What runs cost", are made from the runs that are there now. If the store is a file or a database, the command
    first starts an MLflow server that only this machine can reach; Ctrl-C ends it.
    """
    _set_own_environment()
    import mlflow

    from mlflow_sysmetrics.ui import newest_page, show

    uri = tracking_uri or mlflow.get_tracking_uri()
    page = _asked(uri, lambda: newest_page(uri, experiment_name))  # first: it makes the tables of a new database
    show(uri, page, port, with_browser=not no_browser)


def _asked(uri: str, question: Callable[[], T]) -> T:
    """What the store answers, or one sentence for the user."""
    from mlflow_sysmetrics.command.ask_store import NoAnswerError, ask_store
    from mlflow_sysmetrics.redact import redacted

    try:
        return ask_store(uri, 60.0, question)
    except NoAnswerError as error:
        raise click.ClickException(f"{redacted(uri)}: {error}") from None


def _set_own_environment() -> None:
    for name, value in _OWN_ENVIRONMENT.items():
        os.environ.setdefault(name, value)


if __name__ == "__main__":
    main()
