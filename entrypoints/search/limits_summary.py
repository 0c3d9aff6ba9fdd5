"""What limits did to a study, for its run and its description: who met them, what was saved, what they cannot tell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from entrypoints.datasets.prepared import Prepared
from entrypoints.limits.costs import COSTS
from entrypoints.limits.judging import violations
from entrypoints.limits.pareto import front
from entrypoints.limits.stop_or_skip import Stopping
from entrypoints.models.configuration import Configuration
from entrypoints.models.losses import higher_is_better, score_name
from entrypoints.progress import duration
from entrypoints.runs import RecordedRun
from entrypoints.search import full_study
from entrypoints.search.budget import Budget, Spending, account
from entrypoints.search.ended_search import EndedSearch
from entrypoints.search.nearest import Judged, judge
from entrypoints.search.record import Record, TrialRecord
from entrypoints.tags import FEASIBLE, STOP_HOW
from mlflow_sysmetrics.tags import STOP_REASON

MAX_NEAREST = 3  # trials that are named where none meets the limits


@dataclass(frozen=True)
class Outcome:
    """The study's own metrics, its tables by file name, a text for its description, and a line for the terminal.

    ``nothing`` says in one sentence that no trial, of those that can be judged, meets the limits and which come
    nearest; None if one does, or none is known to break them.
    """

    metrics: dict[str, float]
    tables: dict[str, list[dict[str, Any]]]
    text: str
    line: str
    nothing: str | None


def outcome(study: EndedSearch, trials: list[Configuration], stopping: Stopping) -> Outcome:
    """Judge the trials of a study under limits, and count what was saved."""
    record = study.record
    each = list(record.trials.values())
    feasible = record.ranked
    judged = judge(stopping.criteria, each)
    budget = account(each, *_full_costs(study, trials))
    configurations = sum(not trial.configuration.repeat for trial in each)
    how: Counter[str] = Counter(trial.ending.how for trial in each if trial.ending)
    met = _met(stopping, judged, len(feasible), configurations)
    metrics = {
        **({"feasible": float(len(feasible))} if record.limited else {}),
        "skipped": float(how["skipped"]),
        "spent_cpu_s": budget.spent.cpu_s,
        "spent_wall_s": budget.spent.wall_s,
        "saved_cpu_s": budget.saved.cpu_s,
        "saved_wall_s": budget.saved.wall_s,
        "saved_cpu_percent": budget.saved_cpu_percent,
        "saved_wall_percent": budget.saved_wall_percent,
    }
    tables = {
        "budget.json": budget.rows(),
        "stops.json": _stops(record),
        "pareto.json": _front(feasible or record.able, study.data, study.measured.margins),
    }
    return Outcome(
        metrics,
        {file: rows for file, rows in tables.items() if rows},
        _text(stopping, judged, budget, met),
        _line(budget, how, met),
        _nothing(stopping, judged, record) if judged.nearest and not feasible else None,
    )


def mark_feasible(run: RecordedRun, record: Record, stopping: Stopping) -> None:
    """Correct the tag ``sysmetrics.feasible`` if limits depend on other trials: each trial knew only earlier ones."""
    if any(limit.statistic for limit in stopping.criteria.limits):
        limits = record.limits
        for trial in record.trials.values():
            if trial.complete and trial.run_id:
                feasible = not violations(limits, trial.figures)
                run.client.set_tag(trial.run_id, FEASIBLE, str(feasible).lower())


def _full_costs(study: EndedSearch, trials: list[Configuration]) -> tuple[Mapping[str, Spending], str]:
    """The full cost of each configuration, and where it comes from, in words."""
    run, wanted = study.run, full_study.study_key(study.settings, study.data)
    hosts = full_study.hosts_of(run.client, run.experiment_id, run.run_id)
    found = full_study.find(run.client, run.experiment_id, wanted, trials, hosts)
    if found is not None:
        return found.costs, str(found)
    lengths_known = {
        trial.key: Spending(trial_s, trial_s)
        for trial, trial_s in zip(trials, study.forecast.trials_s, strict=True)
        if not trial.may_converge
    }
    source = "the forecast, since no study without limits has run these trials"
    if len(lengths_known) < len(trials):
        source += "; trials with a tol might have ended sooner, and count as no saving"
    return lengths_known, source


def _front(trials: Sequence[TrialRecord], data: Prepared, margins: Mapping[str, float]) -> list[dict[str, Any]]:
    rows = [
        {"run_id": trial.run_id, "trial_id": trial.trial_id, **trial.configuration.searched, **trial.figures}
        for trial in trials
    ]
    searched = full_study.searched_names([trial.configuration for trial in trials])
    sign = -1.0 if higher_is_better(data.task) else 1.0
    return front(rows, f"val_{score_name(data.task)}", COSTS, searched, sign=sign, margins=margins)


def _stops(record: Record) -> list[dict[str, Any]]:
    """One row per trial that its limits ended."""
    return [
        {
            "run_id": trial.run_id,
            "criterion": trial.ending.stop.criterion,
            "how": trial.ending.how,
            "step": trial.ending.stop.step,
            "value": trial.ending.stop.value,
            "limit": trial.ending.stop.limit,
            "predicted": trial.ending.prediction.value if trial.ending.prediction else None,
            "low": trial.ending.prediction.low if trial.ending.prediction else None,
            "high": trial.ending.prediction.high if trial.ending.prediction else None,
            **trial.configuration.searched,
        }
        for trial in record.trials.values()
        if trial.ending
    ]


def _met(stopping: Stopping, judged: Judged, feasible: int, configurations: int) -> str:
    """Which limits were not applied, and how many trials meet those that were, if any."""
    said = list(judged.inactive)
    if len(said) < len(stopping.criteria.rules):
        said.append(f"{feasible} of {configurations} trials meet {'the others' if said else 'them'}")
    return "; ".join(said)


def _line(budget: Budget, how: Counter[str], met: str) -> str:
    ways = ", ".join(f"{count} {name}" for name, count in how.items()) or "none stopped"
    return (
        f"Limits: {met}; {ways}; saved {duration(budget.saved.cpu_s)} of CPU ({budget.saved_cpu_percent:.0f} %), "
        f"counted against {budget.source}{_left_out(budget)}"
    )


def _left_out(budget: Budget) -> str:
    """Which trials are not in the budget, as the end of a sentence."""
    unknown = f"{budget.unknown} trial{'' if budget.unknown == 1 else 's'}"
    return f"; without {unknown} whose cost is not recorded" if budget.unknown else ""


def _text(stopping: Stopping, judged: Judged, budget: Budget, met: str) -> str:
    lines = [
        f"**Limits**: `{stopping.criteria}`. {met}. The best trial within the limits is the result. Filter any table "
        f"by them with ``tags.`{FEASIBLE}` = 'true'``. Stopped trials are KILLED: the column "
        f"`{STOP_HOW}` says crossed, predicted or skipped, `{STOP_REASON}` why.",
        "",
        f"**Budget**: {budget.spent.cpu_s:.1f} s of CPU spent, {budget.saved.cpu_s:.1f} s saved "
        f"({budget.saved_cpu_percent:.0f} %; of the trials' wall time {budget.saved_wall_percent:.0f} %), counted "
        f"against {budget.source}{_left_out(budget)}.",
    ]
    if budget.by_reason:
        lines += ["", "| rule | trials stopped | CPU s saved |", "|---|---|---|"]
        lines += [
            f"| {row['reason']} | {row['trials']} | {row['saved_cpu_s']:.1f} |"
            for row in sorted(budget.rows(), key=lambda row: -row["saved_cpu_s"])
        ]
    for limit in judged.indistinct:
        lines += [
            "",
            f"`{limit}` cannot tell the configurations apart: most of their figures are as close to it as repeated "
            "runs of one configuration are to each other. So small a difference does not stop a trial.",
        ]
    return "\n".join(lines)


def _nothing(stopping: Stopping, judged: Judged, record: Record) -> str:
    known = sum(not trial.ended_from_outside for trial in record.trials.values())
    none = "no trial meets them"
    if known < record.planned:
        none = f"of {record.planned} trials {known} can be judged, and none of these meets them"
    nearest = "; ".join(
        f"{', '.join(f'{name}={value}' for name, value in trial.configuration.searched.items())} has "
        + ", ".join(f"{stop.metric} {stop.value:.4g} (limit {stop.limit:.4g})" for stop in stops)
        for trial, stops in judged.nearest[:MAX_NEAREST]
    )
    return f"criteria={stopping.criteria}: {none}; the nearest are: {nearest}; raise these limits"
