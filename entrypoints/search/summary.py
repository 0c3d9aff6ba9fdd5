"""The texts about a study for the user: on the terminal, and in the study's run, where the UI shows them."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping
from statistics import median
from typing import TYPE_CHECKING, Any

import click
import mlflow
from mlflow.data.pandas_dataset import PandasDataset, from_pandas
from mlflow.exceptions import MlflowException

from entrypoints.datasets.prepared import Prepared
from entrypoints.datasets.tables import Table
from entrypoints.limits.order_effect import told
from entrypoints.links import compare_view, how_to_open, run_view
from entrypoints.mlflow_io import log_tables
from entrypoints.models.configuration import Configuration
from entrypoints.models.convergence import fewest_steps
from entrypoints.models.losses import score_name
from entrypoints.progress import duration
from entrypoints.runs import RecordedRun
from entrypoints.search import edges
from entrypoints.search.ended_search import EndedSearch
from entrypoints.search.limits_summary import Outcome
from entrypoints.search.measured import FILE
from entrypoints.search.pages import in_markdown
from entrypoints.search.record import Record
from entrypoints.search_space import is_distribution
from entrypoints.settings import StudySettings
from entrypoints.tags import BEST_PREFIX, BEST_TRIAL_ID, BEST_TRIAL_RUN_ID, DATA_SOURCE
from entrypoints.views import SCORE

if TYPE_CHECKING:
    from entrypoints.models.best_model import LoggedModel

TOP = 5
INPUT_ATTEMPTS = 3
SCHEMA_CHARACTERS = 1_048_575  # the most that MLflow stores
COMPARED = ("mean_step_time_ms", "training_time_s", "peak_memory_mb", "mean_cpu_percent", "inference_latency_ms")


class _WithoutSchema(PandasDataset):
    """A table as MLflow records it, but for the list of its columns."""

    @property
    def schema(self) -> None:
        """Nothing."""
        return


def log_dataset(run: RecordedRun, table: Table) -> None:
    """Record the dataset as an input of the study's run, without the schema of columns if that is too long for it."""
    source = f"https://www.openml.org/d/{table.openml_id}" if table.openml_id else table.source
    dataset = from_pandas(table.frame, source=source, targets=table.target, name=table.name)
    if len(dataset.to_dict()["schema"]) > SCHEMA_CHARACTERS:
        click.echo(f"The dataset's {table.frame.shape[1]} columns are too many for MLflow's record of its schema")
        dataset = _WithoutSchema(table.frame, dataset.source, table.target, dataset.name, dataset.digest)
    for attempts_left in reversed(range(INPUT_ATTEMPTS)):
        try:
            mlflow.log_input(dataset, context="training")
            break
        except MlflowException:
            # Of two studies that record the same dataset at once MLflow refuses one, and finds it there the next time.
            if not attempts_left:
                raise
    run.client.set_tag(run.run_id, DATA_SOURCE, table.source)


def data_line(data: Prepared, prepare_run_id: str, reused: bool) -> str:
    """The dataset in one line."""
    target = f"{data.target} ({data.task})"
    sizes = f"{len(data.split.train)} training and {len(data.split.test)} test rows, {len(data.feature_names)} features"
    return f"{data.name}, {target}, {sizes}, prepared {'before ' if reused else ''}in run {prepare_run_id}"


def how_to_shorten(settings: StudySettings, trials: int, expected_s: float, cpus: int) -> str:
    """What to say of a study that takes longer than an hour: how long, and what each way to shorten it is set to."""
    within_an_hour = max(1, int(trials * 3600 / expected_s))
    limits = {"max_steps": settings.max_steps, "max_epochs": settings.max_epochs}
    length = ", ".join(f"{name}={number}" for name, number in limits.items() if number)
    return (
        f"This study takes about {duration(expected_s)} on {cpus} CPU cores and starts now. To shorten it, stop it and "
        f"set max_trials (about {within_an_hour} of the {trials} take an hour), max_rows, fewer folds "
        f"({settings.folds}), a shorter training ({length}), or time_limit_s (the best by then counts)."
    )


def how_tols_act(trials: Iterable[Configuration], rows: int) -> str:
    """What ``tol`` means for the length of a study's trials; empty where none may converge."""
    may = [trial for trial in trials if trial.may_converge]
    if not may:
        return ""
    long_enough = sum(trial.steps(rows) > fewest_steps(trial, rows) for trial in may)
    if long_enough:
        return f"tol: {long_enough} trials may converge sooner; that time is without it"
    fewest = min(fewest_steps(trial, rows) for trial in may)
    return (
        f"tol: no trial is long enough to converge before its end, which takes {fewest} steps or more: 6 epochs; "
        "raise max_steps and max_epochs"
    )


def cut_short(record: Record, settings: StudySettings) -> str:
    """What the time limit cut from the search, in words; empty if nothing."""
    trials = record.trials.values()
    cut_off, not_started = sum(trial.cut_off for trial in trials), record.planned - len(trials)
    if not cut_off and not not_started:
        return ""
    ended = sum(trial.status == "FINISHED" for trial in trials)
    others = len(trials) - cut_off - ended
    return (
        f"time_limit_s={settings.time_limit_s or 0.0:g} ended the search: {ended} of {record.planned} trials were run "
        f"to their end, {f'{others} failed or were stopped, ' if others else ''}{cut_off} were cut off, {not_started} "
        "not started"
    )


def no_usable_trial(record: Record, settings: StudySettings, nothing: str | None = None) -> str:
    """Why a study has no result, in one sentence; ``nothing`` is that of the ``Outcome`` of its limits."""
    trials = record.trials.values()
    errors = [trial.error for trial in trials if trial.error]
    found = f"{sum(trial.diverged for trial in trials)} diverged and {len(errors)} failed"
    if limited := cut_short(record, settings):
        advice = "raise time_limit_s, or shorten the trials with max_steps, max_epochs, max_rows or folds"
        return f"{nothing}; {limited}; {advice}" if nothing else f"no model to choose: {limited}, {found}; {advice}"
    if nothing:
        return nothing
    advice = f"the first error was {errors[0]}" if errors else "lower the learning rates or max_steps"
    if stopped := sum(trial.ending is not None for trial in trials if not trial.diverged):
        found, advice = f"{found}, and {stopped} were stopped by their limits", "loosen the criteria"
    return f"no model to choose: of {len(trials)} trials {found}; {advice}"


def trials_table(record: Record, settings: StudySettings) -> list[dict[str, Any]]:
    """One row per trial: ids, status, configuration and every figure outside ``system/``."""
    return [
        {
            "trial_id": trial.trial_id,
            "run_id": trial.run_id,
            "status": trial.status,
            "place": trial.configuration.place,
            **({"repeat": trial.configuration.repeat} if trial.configuration.repeat else {}),
            "diverged": trial.diverged,
            "converged": trial.converged,
            **trial.configuration.searched,
            **settings.shared,
            **trial.figures,
        }
        for trial in record.trials.values()
    ]


def folds_table(record: Record) -> list[dict[str, Any]]:
    """One row per trial and fold; diverged trials have none."""
    return [{"trial_id": trial.trial_id, **fold} for trial in record.trials.values() for fold in trial.folds]


def log_study(study: EndedSearch, model: LoggedModel, links: Mapping[str, str], outcome: Outcome | None = None) -> None:
    """Leave the study's own metrics, best trial and description in its run; the model's are there already."""
    best = study.record.best
    assert best is not None
    mlflow.log_metrics(_metrics(study, outcome), step=0)
    mlflow.set_tags(
        {
            BEST_TRIAL_RUN_ID: str(best.run_id),
            BEST_TRIAL_ID: best.trial_id,
            **{f"{BEST_PREFIX}{key}": str(value) for key, value in best.configuration.searched.items()},
            "mlflow.note.content": description(study, model, links, outcome),
        }
    )


def log_study_without_result(study: EndedSearch, why: str, links: Mapping[str, str], outcome: Outcome | None) -> None:
    """Leave what is known of a study that has no model to choose: what it measured, and why that is not enough."""
    mlflow.log_metrics(_metrics(study, outcome), step=0)
    limits = f"\n\n{outcome.text}" if outcome else ""
    note = f"**No model was chosen**: {why}.\n\nCompare its trials: {in_markdown(links)}.{limits}"
    study.run.client.set_tag(study.run.run_id, "mlflow.note.content", note)


def _metrics(study: EndedSearch, outcome: Outcome | None) -> dict[str, float]:
    """The study's figures that do not depend on a result."""
    record, forecast_s = study.record, study.forecast.search_s
    trials = list(record.trials.values())
    counts, converged = Counter(trial.status for trial in trials), sum(trial.converged for trial in trials)
    metrics = {
        "trials": float(len(trials)),
        "stopped": float(counts["KILLED"]),
        "failed": float(counts["FAILED"]),
        "restarts": float(record.restarts),
        "diverged": float(sum(trial.diverged for trial in trials)),
        "converged": float(converged),
        "search_time_s": record.search_s,
        "forecast_time_s": forecast_s,
        "elapsed_s": record.before_s + time.time() - study.run.start,
    }
    # The full time is unknown if the search or one of its trials was interrupted or cut short, or a trial converged.
    whole = not record.before_s and not cut_short(record, study.settings) and not counts["KILLED"] and not converged
    if whole and record.search_s > 0:
        metrics["forecast_error_percent"] = (forecast_s / record.search_s - 1) * 100
    return metrics | (outcome.metrics if outcome else {})


def log_results(study: EndedSearch, outcome: Outcome | None = None) -> None:
    """Leave the study's tables in its run, in place of those that an earlier command has left there."""
    tables = {"trials.json": trials_table(study.record, study.settings), "folds.json": folds_table(study.record)}
    tables[FILE] = study.measured.rows
    log_tables(study.run.client, study.run.run_id, tables | (outcome.tables if outcome else {}))


def description(
    study: EndedSearch, model: LoggedModel, links: Mapping[str, str], outcome: Outcome | None = None
) -> str:
    """The study's page in the UI; its first two lines, the result and the links, are seen before it is unfolded."""
    run, settings, data, record = study.run, study.settings, study.data, study.record
    best, score = record.best, score_name(data.task)
    assert best is not None
    diverged = sum(trial.diverged for trial in record.trials.values())
    converged = sum(trial.converged for trial in record.trials.values())
    limited = cut_short(record, settings)
    rows = "\n".join("| " + " | ".join(cells) + " |" for cells in _table(record, data))
    header, body = rows.split("\n", 1)
    rule = "|" + "---|" * (header.count("|") - 1)
    top = [trial.run_id for trial in record.ranked[:TOP]]
    chosen = ", ".join(f"{name} {value}" for name, value in best.configuration.searched.items())
    return f"""\
**val_{score} {best.figures[f"val_{score}"]:.4f}** is the best of {_how_many(record)} for {data.name}: {chosen}.
Compare them: {in_markdown(links)}.

Scores are cross-validated on {settings.folds} folds, and what a trial cost its own process is in its run.
The best, refitted on the whole training part, has test_{score} **{model.figures[f"test_{score}"]:.4f}**\
{_refit_costs(model.figures)}, and is logged as `{model.uri}`.
{f"{diverged} trials diverged and are never the best." if diverged else ""}
{f"{converged} trials ended because they had converged." if converged else ""}
{f"{limited}." if limited else ""}
{" ".join(_beyond_noise(study))}
{f"{record.restarts} times a trial began again because its process or node had died." if record.restarts else ""}

Open next: [the best trial]({run_view(run.experiment_id, best.run_id)}),
[what its process did]({run_view(run.experiment_id, best.run_id, "system-metrics")}), or
[the {len(top)} best in parallel coordinates]({compare_view(run.experiment_id, top)}).

{header}
{rule}
{body}

{outcome.text if outcome else ""}
"""


def closing(study: EndedSearch, model: LoggedModel, links: Mapping[str, str], outcome: Outcome | None = None) -> str:
    """The end of the command's output: the best trials, the refitted model, and how to look at all of them."""
    table = _table(study.record, study.data)
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table]
    if limited := cut_short(study.record, study.settings):
        lines += ["", limited]
    if said := _beyond_noise(study):
        lines += ["", *said]
    if outcome:
        lines += ["", outcome.line]
    score, figures = score_name(study.data.task), model.figures
    return (
        "\n" + "\n".join(lines) + "\n\n"
        f"Refitted best model: test_{score} {figures[f'test_{score}']:.4f}{_refit_costs(figures)}; "
        f"it is logged as {model.uri}\n"
        f"Compare all trials in the MLflow UI:\n{how_to_open(links[SCORE], mlflow.get_tracking_uri())}\n"
    )


def _how_many(record: Record) -> str:
    """What the best is the best of."""
    tried = [trial for trial in record.trials.values() if not trial.configuration.repeat]
    if record.limited:
        return f"the {len(record.ranked)} models within the limits, of {len(tried)} configurations,"
    trained = sum(trial.status == "FINISHED" for trial in tried)
    return f"{trained} models" if trained == len(tried) else f"the {trained} models that were trained to their end"


def _refit_costs(figures: dict[str, float]) -> str:
    """What training the best model alone took, as the end of a sentence."""
    said = f", trained in {figures['refit_training_time_s']:.2g} s"
    growth_mb = figures.get("refit_memory_growth_mb")
    return said if growth_mb is None else f"{said} with {growth_mb:.1f} MB"


def _beyond_noise(study: EndedSearch) -> list[str]:
    """How many models are equal, where the search may have been too narrow, and what the order of the trials did."""
    space = study.settings.space
    not_listed = {name for name, values in space.items() if is_distribution(values)}
    not_listed |= set() if "batch_size" in space else {"batch_size"}
    found, record, rows = study.measured, study.record, study.data.split.max_batch_size
    ends = edges.sentences(record.ranked, record.trials.values(), record.score, found.score_margin, rows, not_listed)
    return [sentence for sentence in (found.equal_to_best(record), *ends, *told(found.order.values())) if sentence]


def _table(record: Record, data: Prepared) -> list[list[str]]:
    """The best trials and, for comparison, the median of all that could be chosen; a header row first."""
    figures = (f"val_{score_name(data.task)}", *COMPARED)
    top = record.ranked[:TOP]
    searched = list(dict.fromkeys(name for trial in top for name in trial.configuration.searched))
    rows = [["", *searched, *figures]]
    for place, trial in enumerate(top, start=1):
        chosen = [str(trial.configuration.searched.get(name, "-")) for name in searched]
        rows.append([str(place), *chosen, *(_number(trial.figures.get(name)) for name in figures)])
    medians = [_median([trial.figures.get(name) for trial in record.ranked]) for name in figures]
    return [*rows, ["median", *("" for _ in searched), *map(_number, medians)]]


def _median(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
