"""The commands `check`, `forecast` and `served` of `mlflow-sysmetrics`, which finds them by their entry points."""

from __future__ import annotations

import signal
import sys
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

import click
from click import option

from mlflow_gate.metrics import SERVED

if TYPE_CHECKING:
    from mlflow_gate.check.output import Result

_DATA = """A CSV or Parquet file with rows to ask for; it may have more columns than the model takes. By default the
model's own input example."""
_SERVED_LIMITS = f"""What the model may cost, such as "served_p95_ms<=20, served_memory_mb<=300". Metrics:
{", ".join(SERVED)}."""
_RATE_HELP = """Requests a second, which fall due at random moments, whatever the answers do; a time counts from when
its request was due. By default each request waits for the answer to the one before."""
_RATES_HELP = f"{_RATE_HELP} Several rates, such as 10,20,40, are measured one after the other."
_URL_HELP = """An endpoint that runs, in place of a model: it takes what MLflow's /invocations takes, or --body. Its CPU
time and memory are not known."""
_BODY_HELP = "A file with the body of a request for one row, as JSON, which --url is sent as it is."
_TOLERATE = """Changes that pass, such as "cpu_seconds=10%, rmse=1sd", where sd is what seeds change; by default 5% of
cpu_seconds, 2% of peak_rss_mb, 10% of peak_memory_mb, 25% of elapsed_s, and 1sd of a metric."""
_TOLERATE_MODELS = """Changes that pass, such as "rmse=2%, served_cpu_ms=20%"; by default 1% of a loss, 10% of
served_cpu_ms, 2% of served_memory_mb, 5% of served_answered_per_s, 25% of served_p50_ms."""
_TOLERATE_ENDPOINTS = """Changes that pass, such as "served_p50_ms=20%"; by default 10% of served_p50_ms, and 5% of
served_answered_per_s."""
_PHASE = """Compare the CPU time of this phase of the program, too, such as "load"; by default of "train", if both sides
record it."""
_CHECK_DATA = "A CSV or Parquet file with rows that neither model was trained on."
_POSITIVE = """Positive class of two. Needed for log_loss, brier, roc_auc and average_precision. If models have other
labels, give both: churned=1."""
_LOWER = ["rmse", "mae", "error_rate", "log_loss", "brier"]
_HIGHER = ["roc_auc", "average_precision"]
_WITH_MLFLOW = "pip install mlflow 'mlflow-sysmetrics-bundle[check]'"
_MODEL_ADDRESSES = ("models:/", "runs:/")


def _checked_rate(context: click.Context, parameter: click.Parameter, rate: float | None) -> float | None:
    if rate is not None and not 0.1 <= rate <= 10_000:
        raise click.UsageError(f"--rate {rate:g}: use 0.1 to 10000 requests a second")
    return rate


def _checked_rates(context: click.Context, parameter: click.Parameter, rates: str) -> list[float]:
    """The rates of a text such as `10,20,40`. click.UsageError: one is no number, or out of range."""
    checked = []
    for text in filter(None, rates.split(",")):
        try:
            rate = float(text)
        except ValueError:
            raise click.UsageError(f"--rate {rates}: {text!r} is not a number; write 50, or 10,20,40") from None
        _checked_rate(context, parameter, rate)
        checked.append(rate)
    return checked


_RATE = option("--rate", metavar="NUMBER", type=float, callback=_checked_rate, help=_RATE_HELP)
_MAX_PAIRS = option(
    "--max-pairs", type=click.IntRange(3, 20), default=20, show_default=True, help="Most pairs that run."
)
_MAX_MINUTES = option(
    "--max-minutes",
    type=click.FloatRange(min=0),
    default=20.0,
    show_default=True,
    help="No pair begins that is expected to end later. Three run in any case.",
)
_FORMAT = option(
    "--format",
    "form",
    type=click.Choice(["text", "markdown", "json"]),
    default="text",
    show_default=True,
    help="How the verdict is printed.",
)


class CheckCommand(click.Command):
    """`check` of programs; where it is given models, that of models, and with --url that of endpoints."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        is_of_programs = any(word == "--" or word.startswith("--baseline-") for word in args)
        if not is_of_programs and any(word.startswith(_MODEL_ADDRESSES) for word in args):
            return check_models.make_context(info_name, args, parent, **extra)
        if not is_of_programs and "--url" in args:
            return check_endpoints.make_context(info_name, args, parent, **extra)
        try:
            return super().make_context(info_name, args, parent, **extra)
        except click.NoSuchOption as error:
            if any(error.option_name in option.opts for option in check_models.params):
                raise click.UsageError(f"{error.option_name} is for two models, such as models:/m/7") from None
            raise


@click.command("check", cls=CheckCommand, context_settings={"allow_interspersed_args": False})
@option("--baseline-command", metavar="COMMAND", help="The command to compare with.")
@option(
    "--baseline-commit", metavar="REV", help="The same command with the code of this commit of the repository here."
)
@option("--setup", metavar="COMMAND", help="With --baseline-commit: what either side runs first, such as an install.")
@option("--lower", metavar="METRIC", multiple=True, help="Metric to compare; lower is better. Repeatable.")
@option("--higher", metavar="METRIC", multiple=True, help="Metric to compare; higher is better. Repeatable.")
@option("--phase", metavar="NAME", help=_PHASE)
@option("--tolerate", metavar="CHANGES", default="", help=_TOLERATE)
@option("--wall-time", is_flag=True, help="Compare elapsed_s, too; the programs then run one after the other.")
@_MAX_PAIRS
@_MAX_MINUTES
@_FORMAT
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@click.pass_obj
def check(
    environment: dict[str, str],
    /,
    form: str,
    lower: tuple[str, ...],
    higher: tuple[str, ...],
    **options: Any,
) -> None:
    """Say whether COMMAND costs more than its baseline, or has worse metrics, beyond noise.

    Both run in pairs, at once where the machine has room, until one metric is worse or all are decided, after 3, 5, 7,
    10, 14 or 20 pairs: cpu_seconds, that of a phase if the program records it, peak_rss_mb (the highest memory of one
    process), peak_memory_mb (that of all processes together), and each --lower or --higher metric of the program's
    MLflow run. At most one in a hundred checks of equal programs finds anything worse. `{pair}` in a command and
    SYSMETRICS_PAIR are the number of the pair, for a program to use as its seed: it makes noise small. All runs are
    recorded below a run of the check, which has the verdict.

    \b
    Examples:
      mlflow-sysmetrics check --baseline-commit main -- python train.py --seed {pair}
      mlflow-sysmetrics check --baseline-command "python old.py" --lower val_rmse -- python new.py
      mlflow-sysmetrics check --baseline-commit HEAD --tolerate "peak_rss_mb=3%" -- python train.py

    Two models are compared by `mlflow-sysmetrics check models:/m@champion models:/m/7`, and two endpoints by
    `mlflow-sysmetrics check --url http://old http://new`; --help after them says how.

    The exit code is 0 if nothing is worse, 1 if something is or the candidate fails, 2 after wrong use, and 3 if
    something cannot be judged or the baseline fails.
    """
    try:
        from mlflow_gate.check.two_programs import check_programs
    except ImportError as error:
        raise click.UsageError(f"{error.name} is missing: pip install 'mlflow-sysmetrics-bundle[check]'") from None
    metrics = dict.fromkeys(lower, False) | dict.fromkeys(higher, True)
    _end_of_check(lambda: check_programs(environment=environment, metrics=metrics, **options), form)


@click.command("check", epilog="Without models, `mlflow-sysmetrics check --help` is on programs.")
@option("--data", required=True, metavar="FILE", help=_CHECK_DATA)
@option("--target", required=True, metavar="COLUMN", help="The column that the models predict.")
@option("--lower", multiple=True, type=click.Choice(_LOWER), help="A loss that is compared on them. Repeatable.")
@option("--higher", multiple=True, type=click.Choice(_HIGHER), help="A score that is compared on them. Repeatable.")
@option("--positive", metavar="CLASS", help=_POSITIVE)
@option("--group", metavar="COLUMN", help="Rows with one value of it, such as a patient's, are one observation.")
@option("--promote", metavar="ALIAS", help="If nothing is worse (exit code 0), let this alias name the candidate.")
@option("--tolerate", metavar="CHANGES", default="", help=_TOLERATE_MODELS)
@_RATE
@option("--wall-time", is_flag=True, help="Compare served_p50_ms, too.")
@_MAX_PAIRS
@_MAX_MINUTES
@_FORMAT
@click.argument("baseline")
@click.argument("candidate")
def check_models(baseline: str, candidate: str, data: str, form: str, **options: Any) -> None:
    """Say whether the model CANDIDATE predicts worse than BASELINE, or costs more as served, beyond noise.

    Both predict the rows of --data, and how the difference of their scores varies between blocks of rows says whether
    CANDIDATE is worse. Then both are served at once and asked in turn, with new servers in each pair, until one cost is
    worse or all are decided: served_cpu_ms and served_memory_mb; with --rate at that rate, first the one and then the
    other, and how many requests they answer, served_answered_per_s. At most one in a hundred checks of equal models
    finds anything worse. Take rows that neither was trained on: those of the baseline's training make it look better
    than it is.

    \b
    Examples:
      mlflow-sysmetrics check models:/m@champion models:/m/7 --data rows.csv --target y --lower rmse --promote champion
      mlflow-sysmetrics check models:/m/6 models:/m/7 --data rows.csv --target y --lower rmse --rate 50 --wall-time

    The exit code is 0 if nothing is worse, 1 if something is or the candidate fails, 2 after wrong use, and 3 if
    something cannot be judged, the baseline fails, or somebody else has moved the alias meanwhile.
    """
    try:
        from mlflow_gate.check import two_models
        from mlflow_gate.served.command import read_rows
    except ImportError as error:
        raise click.UsageError(f"{error.name} is missing: {_WITH_MLFLOW}") from None
    _end_of_check(lambda: two_models.check_models(baseline, candidate, read_rows(data), **options), form)


@click.command("check", epilog="Without --url, `mlflow-sysmetrics check --help` is on programs.")
@option("--url", is_flag=True, required=True, help="What is compared are two endpoints that run.")
@option(
    "--data", metavar="FILE", help="A CSV or Parquet file with rows to ask for, as MLflow's /invocations takes them."
)
@option(
    "--body", metavar="FILE", help="A file with the body of a request for one row, as JSON, which is sent as it is."
)
@option("--tolerate", metavar="CHANGES", default="", help=_TOLERATE_ENDPOINTS)
@_RATE
@_MAX_PAIRS
@_MAX_MINUTES
@_FORMAT
@click.argument("baseline")
@click.argument("candidate")
def check_endpoints(baseline: str, candidate: str, form: str, url: bool, **options: Any) -> None:
    """Say whether the endpoint CANDIDATE answers later than BASELINE, beyond noise.

    Both run already, in the same place, and are asked for one row in turn, 120 times a pair, until served_p50_ms is
    worse or is decided. With --rate each is asked at that rate, first the one and then the other, and how many requests
    they answer, served_answered_per_s, is compared, too. CPU time and memory are not known: the processes of an
    endpoint cannot be seen from here.

    \b
    Examples:
      mlflow-sysmetrics check --url http://localhost:8080 http://localhost:8081 --data rows.csv
      mlflow-sysmetrics check --url http://old/predict http://new/predict --body request.json --rate 20

    The exit code is 0 if nothing is worse, 1 if something is or the candidate does not answer, 2 after wrong use, and 3
    if something cannot be judged or the baseline does not answer.
    """
    try:
        from mlflow_gate.check import two_endpoints
    except ImportError as error:
        raise click.UsageError(f"{error.name} is missing: {_WITH_MLFLOW}") from None
    _end_of_check(lambda: two_endpoints.check_endpoints(baseline, candidate, **options), form)


def _end_of_check(check: Callable[[], Result], form: str) -> NoReturn:
    """Run a check, print its verdict, and exit with its code."""
    from mlflow_gate.check.contest import CheckError
    from mlflow_gate.check.output import FORMATS

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        result = check()
        click.echo(FORMATS[form](result))
    except click.ClickException:
        raise
    except OSError as error:  # git is missing, or a folder of the baseline
        raise CheckError(f"nothing can be compared: {error}") from None
    except Exception as error:  # not 1, as Python would have it: nothing was found to be worse
        traceback.print_exc()
        raise CheckError(f"the check itself has failed, so nothing is known: {error!r}") from None
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(result.exit_code)


def _checked_sizes(context: click.Context, parameter: click.Parameter, sizes: str) -> list[int]:
    try:
        return [int(text) for text in filter(None, sizes.split(","))]
    except ValueError:
        raise click.UsageError(f"--sizes {sizes}: write whole numbers, such as 1000,2000,4000,8000") from None


@click.command(context_settings={"allow_interspersed_args": False})
@option("--sizes", metavar="NUMBERS", default="", callback=_checked_sizes, help="Sizes to run, each twice.")
@option("--full", metavar="NUMBER", type=click.IntRange(min=1), required=True, help="The size to forecast.")
@option("--from", "experiment", metavar="EXPERIMENT", help="Take the finished runs of this experiment; run nothing.")
@option("--by", metavar="NAME", help="With --from: the param or metric of the runs that is their size.")
@option("--limits", metavar="LIMITS", default="", help='What it may cost, such as "peak_memory_mb<=16000".')
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@click.pass_obj
def forecast(environment: dict[str, str], /, command: tuple[str, ...], **options: Any) -> None:
    """Say what COMMAND will cost at a size that is too dear to try, from runs of smaller sizes.

    `{size}` in the command is the size. Each size of --sizes runs twice, in random order. A curve a + b * size^c is
    fitted to each cost, and the interval (95 %) has the noise of the runs and the doubt about the curve in it. All runs
    are recorded in MLflow below a run of the forecast.

    \b
    Examples:
      mlflow-sysmetrics forecast --sizes 1000,2000,4000,8000 --full 64000 -- python train.py --rows {size}
      mlflow-sysmetrics forecast --from nightly --by rows --full 200000 --limits "peak_memory_mb<=16000"

    The exit code is 0 if all limits are met, 1 if one is broken, 2 after wrong use or if the program fails, and 3 if
    the interval spans a limit.
    """
    try:
        from mlflow_gate.forecast.command import forecast as forecast_costs
    except ImportError as error:
        raise click.UsageError(f"{error.name} is missing: pip install 'mlflow-sysmetrics-bundle[check]'") from None
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        code = forecast_costs(command, environment, **options)
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(code)


@click.command()
@option("--data", metavar="FILE", help=_DATA)
@option("--limits", metavar="LIMITS", default="", help=_SERVED_LIMITS)
@option("--rate", "rates", metavar="NUMBERS", default="", callback=_checked_rates, help=_RATES_HELP)
@option("--seed", metavar="NUMBER", type=int, default=0, show_default=True, help="Fixes the moments of --rate.")
@option("--url", metavar="URL", help=_URL_HELP)
@option("--body", metavar="FILE", help=_BODY_HELP)
@click.argument("model_uri", required=False)
def served(model_uri: str | None, url: str | None, data: str | None, body: str | None, **options: Any) -> None:
    """Serve a model and say what it costs: CPU time, latency and memory, as an application meets them.

    MODEL_URI is any address that MLflow knows. The model is loaded by MLflow's own scoring server, in this environment
    and on this machine alone, and asked for one row after another, for 10 to 20 s, or at the rate of your application.
    The figures are logged on the model, so that the tab Models compares them, in a new run that has the facts of this
    machine.

    \b
    Examples:
      mlflow-sysmetrics served models:/m@champion
      mlflow-sysmetrics served models:/m/7 --data rows.csv
      mlflow-sysmetrics served models:/m-0a1b... --rate 50 --limits "served_p95_ms<=20, served_memory_mb<=300"
      mlflow-sysmetrics served models:/m@champion --rate 10,20,40
      mlflow-sysmetrics served --url http://localhost:8080 --data rows.csv --rate 20
      mlflow-sysmetrics served --url http://localhost:8080/predict --body request.json

    The exit code is 0 if all limits are met, 1 if one is broken or the model cannot be served, 2 after wrong use, and 3
    if a limit cannot be judged: the machine was too busy, or there were too few requests.
    """
    try:
        from mlflow_gate.served.command import Question
        from mlflow_gate.served.command import served as measure_served
    except ImportError as error:
        raise click.UsageError(f"{error.name} is missing: pip install mlflow") from None
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        code = measure_served(Question(model_uri, url, data, body), **options)
    except KeyboardInterrupt:
        sys.exit(130)  # not 1, as click would have it
    sys.exit(code)
