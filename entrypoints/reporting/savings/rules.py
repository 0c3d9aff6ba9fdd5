"""What stop rules save, and what they lose, against a study that ran to its end (RQ3).

Each rule's row says whether its figures are ``real`` (a study ran under it), ``replayed`` over the full study's curves,
or those of a ``control`` that knows nothing of costs.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any, TypeVar

import numpy as np
from mlflow import MlflowClient

from entrypoints.datasets.tables import Task
from entrypoints.limits import costs
from entrypoints.limits.duration_forecast import kind
from entrypoints.limits.judging import resolved, violations
from entrypoints.limits.stop_or_skip import EarlyEnd, Stopping
from entrypoints.mlflow_io import find_run
from entrypoints.models.configuration import Configuration
from entrypoints.reporting import hosts
from entrypoints.reporting.findings import records
from entrypoints.reporting.savings import replay
from entrypoints.reporting.savings.courses import read
from entrypoints.reporting.savings.replay import Course, Verdict
from entrypoints.reporting.savings.tables import Saved, by_criterion, finite
from entrypoints.reporting.studies import Study
from entrypoints.search.budget import total
from entrypoints.search.journal import RESUMED_BY
from entrypoints.tags import PREPARE_RUN_ID
from mlflow_sysmetrics.limits import Criteria, Kind, Values

MAX_COURSES = 400  # trials whose curves are read
MAX_REPLAYED = 128  # of these, where limits are replayed at each of TIGHTER: a tenth of a second a trial
RANDOM_ORDERS = 200
TIGHTER = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.05)  # share of the trials that meet the limit
Item = TypeVar("Item")
TIMES = ("mean_step_time_ms", "training_time_s", "elapsed_s")


@dataclass(frozen=True)
class Full:
    """The trials of a study that ran to its end, in order of start, as rules are replayed over them.

    Args:
        courses: those whose curves were read.
        rows: the training rows of a fold.
        score: without its ``val_``.
        search_s: the wall time of the search; NaN where it is unknown.
        ended: how many of its trials ran to their end, those included whose curves were not read.
    """

    courses: list[Course]
    rows: int
    score: str
    higher_is_better: bool
    search_s: float
    ended: int

    @property
    def task(self) -> Task:
        """What its models do."""
        return "classification" if self.score == "accuracy" else "regression"

    @property
    def sign(self) -> float:
        """1 where a lower score is better."""
        return -1.0 if self.higher_is_better else 1.0

    def criteria(self, text: str) -> Criteria:
        """Limits on its trials."""
        return Criteria.parse(text, costs.metrics(self.task))

    def judge(self, stops: Sequence[int | None], criteria: Criteria) -> Verdict:
        """What stopping its trials at these steps saves and loses."""
        return replay.verdict(self.courses, stops, criteria, self.score, higher_is_better=self.higher_is_better)


def full_of(client: MlflowClient, study: Study, most: int = MAX_COURSES, limits: Iterable[str] = ()) -> Full | None:
    """The full study; None if its trials hold too little to replay a rule.

    Args:
        client: of the store.
        study: the full one.
        most: of more trials these are read, evenly spaced, and the best of all and within each of the limits.
        limits: texts of criteria.
    """
    prepare_run_id = study.run.data.tags.get(PREPARE_RUN_ID)
    prepare = find_run(client, prepare_run_id) if prepare_run_id else None
    ended = study.trials[study.trials["status"] == "FINISHED"]
    if study.score not in ("val_rmse", "val_accuracy") or prepare is None or ended.empty:
        return None
    if "train_rows" not in prepare.data.metrics:
        return None
    rows = int(prepare.data.metrics["train_rows"])
    run_ids = ended["run_id"].tolist()
    best = {run_ids.index(each) for text in ("", *limits) for each in _best_within(study, text)}
    courses = [course for course in read(client, thinned(run_ids, most, best)) if course.reports]
    return Full(
        courses,
        rows - rows // int(prepare.data.params["folds"]),
        study.score.removeprefix("val_"),
        study.higher_is_better,
        _search_s(study),
        len(ended),
    )


def of_limits(full: Full, stopping: Stopping, run_id: str) -> Saved:
    """The replay of limits over the full study, and each control at its cost."""
    saved = Saved()
    _replay(saved, full, stopping, run_id)
    return saved


def rules(client: MlflowClient, full: Full, whole: Study, limited: Iterable[Study]) -> Saved:
    """Each study under limits, the replay of its limits, and each control.

    Args:
        client: of the store.
        full: the full study, as rules are replayed over it.
        whole: the full study.
        limited: those under limits.
    """
    saved = Saved()
    for study in limited:
        settings = study.run.data.params
        stopping = Stopping(full.criteria(study.criteria or ""), settings.get("predict", "on") == "on")
        scheduler = settings.get("scheduler", "none")
        name = _name(stopping) + (f", scheduler={scheduler}" if scheduler != "none" else "")
        as_many = hosts.at_once(study) is not None and hosts.at_once(study) == hosts.at_once(whole)
        search_s = _search_s(study) if as_many else math.nan
        ran = read(client, study.trials["run_id"].tolist())
        compared = real(full, ran, stopping.criteria, search_s)
        if compared is not None:
            both, mine = _both(full, ran)
            stops, by = [course.stopped_at for course in mine], [course.stopped_by for course in mine]
            parts = by_criterion(both, stops, by, [_cpu_s([course]) for course in mine])
            trials, verdict = compared
            saved.add(study.run_id, name, "real", (trials, full.ended), verdict, parts)
            _replay(saved, full, stopping, study.run_id)
    return saved


def real(full: Full, ran: Iterable[Course], criteria: Criteria, search_s: float) -> tuple[int, Verdict] | None:
    """A study under limits against the full one, over the trials that both have; their number first, None without any.

    CPU is what was measured in both, NaN where a trial lacks it. So is the wall time, of the searches, where both are
    known and had the same trials; else it is that of the trials, one after the other. Steps are those of the full
    study, less those that stopped trials had left.

    Args:
        full: the full study.
        ran: the trials of the one under limits.
        criteria: these limits.
        search_s: the wall time of its search; NaN where it is unknown, or was that of other cores.
    """
    ran = list(ran)
    both, mine = _both(full, ran)
    if not both:
        return None
    part = replace(full, courses=both)
    verdict = part.judge([course.stopped_at for course in mine], criteria)
    limits = resolved(criteria, (course.figures for course in both if not course.diverged))
    broken = [place for place, course in enumerate(both) if violations(limits, course.figures)]
    same = len(both) == len(ran) == len(full.courses) and search_s > 0 and full.search_s > 0
    return len(both), replace(
        verdict,
        saved_cpu=1 - _cpu_s(mine) / _cpu_s(both),
        saved_wall=1 - search_s / full.search_s if same else 1 - _wall_s(mine) / _wall_s(both),
        infeasible_cost=_cpu_s([mine[place] for place in broken]) / _cpu_s([both[place] for place in broken])
        if broken
        else 0.0,
    )


def replayed(full: Full, stopping: Stopping) -> Verdict:
    """The same limits over the full study's curves."""
    return full.judge(replay.steps_of(_endings(full, stopping)), stopping.criteria)


def controls(full: Full, criteria: Criteria, cpu_share: float) -> dict[str, Verdict]:
    """Rules that know nothing of costs, and whole trials at random for the same share of the CPU seconds."""
    courses = full.courses
    verdicts = {
        "first report only": full.judge(replay.by_first_report(courses), criteria),
        "median rule": full.judge(replay.by_median(courses), criteria),
        "ASHA": full.judge(replay.by_asha(courses, min(min(course.reports) for course in courses)), criteria),
    }
    at_random = [full.judge(replay.at_random(courses, cpu_share, seed), criteria) for seed in range(RANDOM_ORDERS)]
    return verdicts | {"random, equal cost": _mean(at_random)}


def tradeoff(full: Full, metric: str) -> list[dict[str, Any]]:
    """Tighten the limit on a cost, with predictions on: what is saved, and how much worse the chosen model is.

    A limit's regret against the best trial of all is its price; that against the best one that meets it is what
    stopping lost. Of many trials some are replayed, with the best one that meets each limit.
    """
    able = [place for place, course in enumerate(full.courses) if not course.diverged and metric in course.figures]
    if not able:
        return []
    losses = {place: full.sign * full.courses[place].figures[f"val_{full.score}"] for place in able}
    figures = [course.figures[metric] for course in full.courses if metric in course.figures]
    texts = dict.fromkeys(f"{limit:.4g}" for limit in np.quantile(figures, TIGHTER))
    limits = {text: full.criteria(f"{metric}<={text}") for text in texts}
    meeting = {text: [place for place in able if not _broken(limits[text], full.courses[place])] for text in limits}
    best = {text: min(places, key=losses.__getitem__) for text, places in meeting.items() if places}
    of_all = min(able, key=losses.__getitem__)
    part = replace(full, courses=thinned(full.courses, MAX_REPLAYED, {of_all, *best.values()}))
    rows = []
    for limit, criteria in limits.items():
        verdict = replayed(part, Stopping(criteria, predict=True))
        lost = verdict.val_regret if limit in best else math.nan
        rows.append(
            {
                "metric": metric,
                "trials": len(part.courses),
                "of_trials": full.ended,
                "limit": float(limit),
                "feasible": verdict.feasible,
                "saved_cpu_percent": 100 * verdict.saved_cpu,
                "val_regret_feasible": finite(lost),
                "val_regret_all": finite(losses[best[limit]] - losses[of_all] + lost) if limit in best else math.nan,
            }
        )
    return rows


def thinned(items: Sequence[Item], most: int, kept: Collection[int] = ()) -> list[Item]:
    """At most ``most`` of them, evenly spaced, and those at the places that are to be kept."""
    spread = {round(place) for place in np.linspace(0, len(items) - 1, min(most, len(items)))}
    return [items[place] for place in sorted(spread | set(kept))]


def _search_s(study: Study) -> float:
    """The wall time of a study's search; NaN where it is unknown, or of commands that may have had other cores."""
    resumed = any(name.startswith(RESUMED_BY) for name in study.run.data.params)
    return math.nan if resumed else float(study.run.data.metrics.get("search_time_s", math.nan))


def _best_within(study: Study, text: str) -> list[str]:
    """The run of the best complete trial within limits, the best of all without a text; none where none meets them."""
    rows = records(study.complete)
    criteria = resolved(Criteria.parse(text, costs.metrics(study.task)), rows) if text else Criteria(())
    return [str(row["run_id"]) for row in rows if not violations(criteria, row)][:1]


def _replay(saved: Saved, full: Full, stopping: Stopping, run_id: str) -> None:
    """Add the replay of limits, and each control at its cost."""
    courses, ends = full.courses, _endings(full, stopping)
    stops = replay.steps_of(ends)
    verdict = full.judge(stops, stopping.criteria)
    cpu_s = [course.cost(stop).cpu_s for course, stop in zip(courses, stops, strict=True)]
    parts = by_criterion(courses, stops, [each.stop if each else None for each in ends], cpu_s)
    trials = len(courses), full.ended
    unseen = _not_replayed(courses, stopping.criteria)
    saved.add(run_id, _name(stopping), "replayed", trials, verdict, parts, unseen)
    for rule, of_rule in controls(full, stopping.criteria, 1 - verdict.saved_cpu).items():
        saved.add(run_id, rule, "control", trials, of_rule)


def _not_replayed(courses: Iterable[Course], criteria: Criteria) -> list[str]:
    """The metrics of limits that can stop a trial on its way, but not in a replay, since no report holds them."""
    told = {name for course in courses for report in course.reports.values() for name in report}.union(TIMES)
    acting = [limit.metric for limit in criteria.limits if limit.is_upper or limit.metric.kind is Kind.MEAN]
    names = (metric.name for metric in acting if metric.kind in (Kind.GROWING, Kind.MEAN))
    return [name for name in dict.fromkeys(names) if name not in told]


def _name(stopping: Stopping) -> str:
    return f"{stopping.criteria}, predict={'on' if stopping.predict else 'off'}"


def _endings(full: Full, stopping: Stopping) -> list[EarlyEnd | None]:
    return replay.endings(full.courses, stopping, full.rows, _observed(full.courses, full.rows))


def _both(full: Full, ran: Iterable[Course]) -> tuple[list[Course], list[Course]]:
    """The trials that the full study and another one have, as either ran them."""
    own = {course.configuration.key: course for course in ran}
    both = [course for course in full.courses if course.configuration.key in own]
    return both, [own[course.configuration.key] for course in both]


def _observed(courses: Sequence[Course], rows: int) -> list[tuple[Configuration, Values]]:
    """What a forecast would have seen: one trial of each kind, with all its steps."""
    first = {kind(course.configuration): course for course in reversed(courses)}
    return [
        (each.configuration, {name: replay.at_full_length(each, rows)[name] for name in TIMES})
        for each in first.values()
    ]


def _mean(verdicts: Sequence[Verdict]) -> Verdict:
    """Of many orders; regrets are those of the orders that left a feasible trial."""
    left = [verdict for verdict in verdicts if math.isfinite(verdict.val_regret)]
    return replace(
        verdicts[0],
        saved_cpu=fmean(verdict.saved_cpu for verdict in verdicts),
        saved_wall=fmean(verdict.saved_wall for verdict in verdicts),
        saved_steps=fmean(verdict.saved_steps for verdict in verdicts),
        infeasible_cost=fmean(verdict.infeasible_cost for verdict in verdicts),
        false_stops=round(fmean(verdict.false_stops for verdict in verdicts)),
        borderline_stops=round(fmean(verdict.borderline_stops for verdict in verdicts)),
        val_regret=fmean(verdict.val_regret for verdict in left) if left else math.inf,
        test_regret=fmean(verdict.test_regret for verdict in left) if left else math.inf,
    )


def _broken(criteria: Criteria, course: Course) -> bool:
    return bool(violations(criteria, course.figures))


def _cpu_s(courses: Iterable[Course]) -> float:
    return total(course.spent for course in courses).cpu_s


def _wall_s(courses: Iterable[Course]) -> float:
    return total(course.spent for course in courses).wall_s
