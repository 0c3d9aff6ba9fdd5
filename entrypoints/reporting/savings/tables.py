"""The tables of what rules saved: a row for each rule, and how its saving divides over the criteria."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from entrypoints.reporting.savings.replay import Course, Verdict
from mlflow_sysmetrics.limits import Stop

OTHER = "scheduler, time limit or person"  # what ends a trial without a criterion
NOTHING = "none: ran to the end"


@dataclass
class Saved:
    """Tables of what was saved.

    Attributes:
        rules: a row for each rule, and how its figures are known.
        by_criterion: of each row of limits, how its saving divides over the criteria.
    """

    rules: list[dict[str, Any]] = field(default_factory=list)
    by_criterion: list[dict[str, Any]] = field(default_factory=list)

    def add(
        self,
        run_id: str,
        rule: str,
        how: str,
        trials: tuple[int, int],
        verdict: Verdict,
        parts: Iterable[dict[str, Any]] = (),
        unseen: Iterable[str] = (),
    ) -> None:
        """Keep what a rule saved, over how many trials of how many, how that divides, and which limits are not in it.

        ``unseen`` names the metrics of these.
        """
        self.rules.append(_row(run_id, rule, how, trials, verdict) | {"not_replayed": ", ".join(unseen)})
        self.by_criterion += [{"study": run_id, "rule": rule, "kind": how} | part for part in parts]


def by_criterion(
    courses: Sequence[Course], stops: Sequence[int | None], by: Sequence[Stop | None], cpu_s: Sequence[float]
) -> list[dict[str, Any]]:
    """One row for each criterion that ended a trial, the one that saved the most CPU first, one that saved NaN last.

    The rows add up to the whole saving. So the trials that nothing ended have a row too, the last, where their CPU
    seconds differ from those of the full study.

    Args:
        courses: trials that ran to their end.
        stops: the step at which the rule ended each, 0 before it began; None: not at all.
        by: the criterion that ended each, where one did.
        cpu_s: what each spent under the rule; NaN where that is unknown.
    """
    whole_cpu_s = sum(course.cost(None).cpu_s for course in courses)
    whole_steps = sum(course.steps for course in courses)
    rows: dict[str, dict[str, Any]] = {}
    for course, step, stop, spent_cpu_s in zip(courses, stops, by, cpu_s, strict=True):
        criterion, metric = (stop.criterion, stop.metric) if stop else (NOTHING if step is None else OTHER, "")
        none: dict[str, Any] = {"criterion": criterion, "metric": metric, "trials": 0, "skipped": 0}
        row = rows.setdefault(criterion, none | {"saved_cpu_s": 0.0, "saved_steps": 0})
        row["trials"] += 1
        row["skipped"] += step == 0
        row["saved_cpu_s"] += course.cost(None).cpu_s - spent_cpu_s
        row["saved_steps"] += 0 if step is None else course.steps - step
    if NOTHING in rows and not rows[NOTHING]["saved_cpu_s"]:
        del rows[NOTHING]
    for row in rows.values():
        row["saved_cpu_percent"] = 100 * row["saved_cpu_s"] / whole_cpu_s
        row["saved_steps_percent"] = 100 * row["saved_steps"] / whole_steps
    return sorted(rows.values(), key=_order)


def _order(row: dict[str, Any]) -> tuple[bool, bool, float]:
    saved_s = row["saved_cpu_s"]
    return row["criterion"] == NOTHING, saved_s != saved_s, -saved_s


def finite(value: float) -> float:
    """A number; NaN, which is logged as nothing, where it is infinite."""
    return value if math.isfinite(value) else math.nan


def _row(run_id: str, rule: str, how: str, trials: tuple[int, int], verdict: Verdict) -> dict[str, Any]:
    return {
        "study": run_id,
        "rule": rule,
        "kind": how,
        "trials": trials[0],
        "of_trials": trials[1],
        "feasible": verdict.feasible,
        "saved_cpu_percent": 100 * verdict.saved_cpu,
        "saved_wall_percent": 100 * verdict.saved_wall,
        "saved_steps_percent": 100 * verdict.saved_steps,
        "val_regret": finite(verdict.val_regret),
        "test_regret": finite(verdict.test_regret),
        "feasible_stopped": verdict.false_stops + verdict.borderline_stops,
        "borderline_stopped": verdict.borderline_stops,
        # Where no trial breaks the limits there is nothing that they could cost.
        "infeasible_cost_percent": 100 * verdict.infeasible_cost if verdict.infeasible else math.nan,
    }
