"""The command line: record a command without touching its code, deliver what waits, show what was recorded."""

from __future__ import annotations

import os
import sys
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import click
from click import option

from mlflow_sysmetrics.metrics import SUMMARY

# Defaults for MLflow in this process: print nothing into the command's output, and do not retry for long.
_OWN_ENVIRONMENT = {
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}
_LIMITS = f"""End the command when it breaks one of these, such as "peak_memory_mb<=8000, elapsed_s<=7200,
mean_cpu_percent>=5 after 10m". Metrics: {", ".join(SUMMARY)}."""
_UNTOUCHED: dict[str, Any] = {"allow_interspersed_args": False}  # options after the command are its own
_COMMAND = click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
_STORE = """The store to show; by default MLFLOW_TRACKING_URI, or else what MLflow finds in the current folder. Give a
password in MLFLOW_TRACKING_URI, not here: others see the options of a command."""


class _Group(click.Group):
    """Commands of this package, and those that others offer by the entry point group `mlflow_sysmetrics.commands`."""

    def list_commands(self, context: click.Context) -> list[str]:
        return sorted({*super().list_commands(context), *_of_others()})

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        found = super().get_command(context, name)
        if found is None and name in _of_others():
            found = _of_others()[name].load()
        return found


def _of_others() -> dict[str, EntryPoint]:
    return {each.name: each for each in entry_points(group="mlflow_sysmetrics.commands")}


@click.group(cls=_Group)
@click.version_option(package_name="mlflow-sysmetrics-bundle")
@click.pass_context
def main(context: click.Context) -> None:
    """Log what a program itself costs (CPU, memory, and more) into its MLflow run.

    \b
    Examples:
      mlflow-sysmetrics run -- python train.py --epochs 3
      mlflow-sysmetrics run --run-name night -- ./train.sh
      mlflow-sysmetrics run --limits "peak_memory_mb<=8000, elapsed_s<=7200" -- python train.py
      MLFLOW_RUN_ID=0a1b... mlflow-sysmetrics run -- ./resume.sh
      mlflow-sysmetrics check --baseline-commit main -- python train.py
      mlflow-sysmetrics served models:/m@champion --limits "served_p95_ms<=20"
      mlflow-sysmetrics ui
      mlflow-sysmetrics sync

    The charts are in the run's tab "System metrics". Which server is used is up to MLFLOW_TRACKING_URI, as always.
    """
    if (name := context.invoked_subcommand) not in ("sync", "ui") and sys.platform != "linux":
        raise click.UsageError(f"{name} needs Linux; use measure() in your code, or, on macOS, autolog()")
    context.obj = dict(os.environ)  # that of a command that is run
    for name, value in _OWN_ENVIRONMENT.items():  # before MLflow is imported, which reads it then
        os.environ.setdefault(name, value)


@main.command(context_settings=_UNTOUCHED)
@option("--run-name", metavar="NAME", help="Name of the program's run; by default the program or MLflow chooses.")
@option("--experiment-name", metavar="NAME", help="Experiment of the program's runs, unless the program sets another.")
@option("--limits", metavar="LIMITS", default="", help=_LIMITS)
@_COMMAND
@click.pass_obj
def run(
    environment: dict[str, str],
    /,
    command: tuple[str, ...],
    run_name: str | None,
    experiment_name: str | None,
    limits: str,
) -> None:
    """Run COMMAND, log what its processes use into its MLflow run, and print a summary.

    A program that opens one MLflow run is recorded in that; one that opens none, in a new run. If it opens several,
    each has its own costs, and a new run those of the whole program; the tag sysmetrics.program leads from one to the
    others. MLFLOW_RUN_ID names a run to use instead of a new one. The program's code, input, output, signals and exit
    code do not change; from another terminal, interrupt it with `kill -INT -PID`, as Ctrl-C does. A run ends as
    FINISHED, as FAILED if the exit code is not 0, or as KILLED if a signal ended the program.

    A command that breaks a limit, or whose run gets the tag sysmetrics.stop in the MLflow UI, is ended with all
    processes below it: by SIGTERM, and ten seconds later by SIGKILL. The tag sysmetrics.stop_reason says why, and the
    exit code is 124. The run is KILLED; one that MLFLOW_RUN_ID names keeps its status.
    """
    if os.environ.get("MLFLOW_RUN_ID") and (run_name or experiment_name):
        wrong = "MLFLOW_RUN_ID names a run that exists; unset it, or leave out --run-name and --experiment-name"
        raise click.UsageError(wrong)
    from mlflow_sysmetrics.command.passthrough import end_as
    from mlflow_sysmetrics.command.program import MeasuredProgram
    from mlflow_sysmetrics.command.run import run_command

    try:
        program = MeasuredProgram(limits)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    end_as(run_command(command, environment, program, run_name=run_name, experiment_name=experiment_name))


@main.command()
@option("--tracking-uri", metavar="URI", help="Send all metrics to this server; by default each file names its own.")
def sync(tracking_uri: str | None) -> None:
    """Deliver metrics that could not be sent while the server was away.

    A program that ends while its server is away leaves its last metrics in a file. This command sends them, and removes
    what has arrived. Run it as often as you like: no point is stored twice. The exit code is 1 while something is left.
    """
    from mlflow_sysmetrics.delivery.sync import deliver

    delivered = deliver(tracking_uri=tracking_uri)
    click.echo(delivered)
    sys.exit(1 if delivered.left else 0)


@main.command()
@option("--experiment-name", metavar="NAME", help="Look for the newest run here; by default everywhere.")
@option("--tracking-uri", metavar="URI", help=_STORE)
@option("--port", type=click.IntRange(1, 65535), help="Port of the server, or the next free one; by default 5000.")
def ui(experiment_name: str | None, tracking_uri: str | None, port: int | None) -> None:
    """Show the newest run in the MLflow UI: its study, or else what the newest runs have cost.

    Prints the address of the page. What a study shows before its end, and the view "What runs cost", are made from the
    runs that are there now. If the store is a file or a database, the command becomes an MLflow server that only this
    machine can reach, and that Ctrl-C ends.
    """
    import mlflow

    from mlflow_sysmetrics.command.ask_store import ask_store
    from mlflow_sysmetrics.ui.opening import newest_page, show

    uri = tracking_uri or mlflow.get_tracking_uri()
    page = ask_store(uri, lambda: newest_page(uri, experiment_name))  # first: it makes the tables of a new database
    show(uri, page, port)


if __name__ == "__main__":
    main()
