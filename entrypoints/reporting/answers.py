"""A report's one page: the answers in words. Every number in it comes from the tables that are logged beside it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from entrypoints.limits.costs import SYSTEM_FIGURES
from entrypoints.limits.order_effect import told
from entrypoints.links import IS_FEASIBLE, compare_view, run_view, trials_view
from entrypoints.reporting.decision import in_words
from entrypoints.reporting.drift import TOO_FEW
from entrypoints.reporting.findings import Findings
from entrypoints.reporting.markdown import image, p_value, table
from entrypoints.reporting.studies import Study

TOP = 5
MAX_SHOWN = 9
FIGURES = (
    "pareto",
    "during_training",
    "over_time",
    "effect_sizes",
    "interaction",
    "savings",
    "tradeoff",
    "critical_difference",
)


def description(
    experiment_id: str, report_run_id: str, studies: Sequence[Study], found: Findings, drawn: Collection[str] = ()
) -> str:
    """The report's page in the UI, in Markdown: the decision, the answers in short, then figures, then tables.

    Args:
        experiment_id: where the studies and the report are.
        report_run_id: the report's run, which holds the figures.
        studies: the one that the report is about, then those with limits that are compared with it.
        found: what was found.
        drawn: the names of the figures there are.
    """
    study = studies[0]
    decision, costs = in_words(found.rows("decision"), study)
    answers = "\n".join(f"- **{question}**: {sentence}" for question, sentence in _answers(study, found))
    pictures = [f"![{name.replace('_', ' ')}]({image(report_run_id, name)})" for name in FIGURES if name in drawn]
    tables = {
        "During training": _during(found),
        "What hyperparameters change": _effects(study, found),
        "What limits save": _savings(found),
        "Configurations that differ significantly": _ranks(found),
        "Score against cost": _pareto(study, found),
    }
    bodies = {title: [line for line in lines if line] for title, lines in tables.items()}
    sections = {
        "Not answered": ["\n".join(f"- {sentence}" for sentence in found.open_questions)],
        "Figures": pictures,
        "Tables": ["\n\n".join([f"#### {title}", *lines]) for title, lines in bodies.items() if lines],
    }
    parts = ["\n\n".join([f"### {title}", *body]) for title, body in sections.items() if any(body)]
    head = [f"## {decision}\n{costs}".strip(), answers, _counts(found)]
    return "\n\n".join([*filter(None, head), *parts, _next(experiment_id, report_run_id, studies, found)])


def in_short(study: Study, found: Findings) -> str:
    """The decision and the answers in a few lines, for the terminal."""
    answers = [f"{question}: {sentence}" for question, sentence in _answers(study, found)]
    lines = [*in_words(found.rows("decision"), study), *answers]
    return "\n".join(line.replace("**", "").replace("`", "") for line in lines if line)


def _answers(study: Study, found: Findings) -> list[tuple[str, str]]:
    """Each question with its answer in short."""
    answers = {
        "During training": _drifts(found),
        "Hyperparameters": " ".join([_strongest(study, found), *told(study.order.values())]),
        "Limits": " ".join(_saved(found)),
    }
    return [(question, answer) for question, answer in answers.items() if answer]


def shown(study: Study) -> list[str]:
    """The figures that a page has room for: the score and the system figures, or else the first of what there is."""
    known = [name for name in (study.score, *SYSTEM_FIGURES) if name in study.figures]
    return [str(name) for name in known or study.figures[:MAX_SHOWN]]


def _counts(found: Findings) -> str:
    trials = found.tables["trials"]
    ended = trials["status"].value_counts()
    diverged = int((trials["diverged"] & (trials["status"] == "FINISHED")).sum())
    return (
        f"{len(trials)} trials: {ended.get('FINISHED', 0) - diverged} ran to their end, {diverged} diverged, "
        f"{ended.get('KILLED', 0)} were stopped, {ended.get('FAILED', 0)} failed."
    )


def _drifts(found: Findings) -> str:
    told = [row for row in found.rows("drift") if row["verdict"] in ("rises", "falls") and _is_cost(row["metric"])]
    steady = [row for row in found.rows("drift") if row["verdict"] == "steady" and _is_cost(row["metric"])]
    parts = [
        f"`{row['metric']}` {row['verdict']} by {abs(row['change_percent']):.0f} %{_of(row['group'])}" for row in told
    ]
    still = [f"`{row['metric']}`{_of(row['group'])}" for row in steady]
    parts += [f"{', '.join(still)} {'stays' if len(still) == 1 else 'stay'} within 5 %"] if still else []
    return f"{'; '.join(parts)}." if parts else ""


def _strongest(study: Study, found: Findings) -> str:
    parts = []
    for metric in (study.score, "training_time_s", "peak_memory_mb", "model_memory_mb"):
        row = _top(found, metric)
        if row is not None:
            parts.append(
                f"`{row['hyperparameter']}` explains {100 * row['share_of_variance']:.0f} % of `{metric}` "
                f"({_number(row['lowest'])} at {row['lowest_at']} to {_number(row['highest'])} at {row['highest_at']})"
            )
    return f"{'; '.join(parts)}." if parts else ""


def _saved(found: Findings) -> list[str]:
    return [
        f"`{row['rule']}` saved **{row['saved_cpu_percent']:.0f} %** of the CPU and {row['saved_wall_percent']:.0f} % "
        f"of the wall time, with {_regret(row['val_regret'])} in validation and {_regret(row['test_regret'])} in test "
        f"score; of {row['feasible']} trials that meet the limits {row['feasible_stopped']} were stopped."
        for row in found.rows("rules")
        if row["kind"] == "real"
    ]


def _during(found: Findings) -> list[str]:
    rows = [row for row in found.rows("drift") if row["verdict"] != TOO_FEW]
    short = [f"`{row['metric']}`{_of(row['group'])}" for row in found.rows("drift") if row["verdict"] == TOO_FEW]
    columns = {
        "metric": lambda row: f"`{row['metric']}`{_of(row['group'])}",
        "against": lambda row: row["axis"],
        "trials": lambda row: str(row["trials"]),
        "first": lambda row: _number(row["start"]),
        "last": lambda row: _number(row["end"]),
        "change %": lambda row: f"{row['change_percent']:+.1f}",
        "95 % interval": lambda row: f"{row['low_percent']:+.1f} to {row['high_percent']:+.1f}",
        "so it": lambda row: str(row["verdict"]),
    }
    unjudged = f"Too few trials are long enough to judge {', '.join(short)}: four points make a trend." if short else ""
    return [table(columns, rows), unjudged]


def _effects(study: Study, found: Findings) -> list[str]:
    rows = [row for row in (_top(found, metric) for metric in shown(study)) if row is not None]
    columns = {
        "metric": lambda row: f"`{row['metric']}`",
        "moved most by": lambda row: f"`{row['hyperparameter']}`",
        "share of variance": lambda row: f"{100 * row['share_of_variance']:.0f} %",
        "lowest median": lambda row: f"{_number(row['lowest'])} at {row['lowest_at']}",
        "highest median": lambda row: f"{_number(row['highest'])} at {row['highest_at']}",
        "p (Holm)": lambda row: p_value(row["p_holm"]),
    }
    together = [
        f"`{row['first']}` and `{row['second']}` act together on `{row['metric']}` "
        f"({100 * row['share_of_variance']:.0f} % of the variance beyond each alone)"
        for row in found.rows("interactions")[:3]
    ]
    nothing = "" if rows or not found.rows("effects") else "No hyperparameter changes these beyond noise and 5 %."
    return [table(columns, rows) or nothing, f"{'; '.join(together)}." if together else ""]


def _savings(found: Findings) -> list[str]:
    rows = found.rows("rules")
    columns = {
        "rule": lambda row: f"`{row['rule']}`" if row["kind"] != "control" else str(row["rule"]),
        "how known": lambda row: str(row["kind"]),
        "CPU saved": lambda row: f"{row['saved_cpu_percent']:.0f} %",
        "wall saved": lambda row: f"{row['saved_wall_percent']:.0f} %",
        "regret, validation": lambda row: _regret(row["val_regret"]),
        "regret, test": lambda row: _regret(row["test_regret"]),
        "feasible, of them stopped": lambda row: f"{row['feasible']}, {row['feasible_stopped']}",
        "infeasible ones still cost": lambda row: _percent(row["infeasible_cost_percent"]),
    }
    patience = "`patience` stops trials that meet the limits but improve no longer: these count as stopped, too."
    return [table(columns, rows), patience if any("patience" in row["rule"] for row in rows) else "", _tradeoff(found)]


def _tradeoff(found: Findings) -> str:
    known = [row for row in found.rows("tradeoff") if row["val_regret_all"] == row["val_regret_all"]]
    free = [row for row in known if row["val_regret_all"] <= 0]
    if not known:
        return ""
    metric = known[0]["metric"]
    tightest = known[-1]
    price = (
        f"the tightest, {_number(tightest['limit'])}, saves {tightest['saved_cpu_percent']:.0f} % at a regret of "
        f"{_regret(tightest['val_regret_all'])} against the best of all trials"
    )
    if not free:
        return f"As the limit on `{metric}` tightens (replayed), {price}."
    return (
        f"As the limit on `{metric}` tightens (replayed), the best of all trials is kept down to "
        f"{_number(free[-1]['limit'])}, which saves {free[-1]['saved_cpu_percent']:.0f} % of the CPU; {price}."
    )


def _ranks(found: Findings) -> list[str]:
    ranks, pairs = found.rows("ranks"), found.rows("pairs")
    lines = []
    if pairs:
        different = sum(row["different"] for row in pairs)
        lines.append(
            f"Of the {len(pairs) + 1} best by one half of the folds, compared on the other half: the best differs from "
            f"**{different}** of the other {len(pairs)} at 1 % (corrected resampled t-test, Holm)."
        )
    if ranks:
        row = ranks[0]
        lines.append(
            "Descriptive, since folds of one dataset are not independent: Friedman chi2 "
            f"{_number(row['friedman_chi2'])}, Iman-Davenport F {_number(row['iman_davenport_f'])}, Nemenyi's critical "
            f"difference {row['critical_difference']:.2f} ranks over {row['blocks']} folds; mean ranks from "
            f"{ranks[0]['mean_rank']:.2f} to {ranks[-1]['mean_rank']:.2f}."
        )
    return lines


def _pareto(study: Study, found: Findings) -> list[str]:
    rows = found.rows("pareto")
    if not rows:
        return []
    columns = {
        "cost": lambda row: f"`{row['cost']}`",
        "trials on the front": lambda row: str(row["trials"]),
        "cheapest": lambda row: f"{_number(row['cheapest'])} with {study.score} {_number(row['cheapest_score'])}",
        "best": lambda row: f"{_number(row['best'])} with {study.score} {_number(row['best_score'])}",
    }
    ends = []
    for cost in dict.fromkeys(row["cost"] for row in rows):
        front = [row for row in rows if row["cost"] == cost]
        cheapest, best = front[0], front[-1]
        ends.append(
            {
                "cost": cost,
                "trials": len(front),
                "cheapest": cheapest["value"],
                "cheapest_score": cheapest[str(study.score)],
                "best": best["value"],
                "best_score": best[str(study.score)],
            }
        )
    return [table(columns, ends)]


def _next(experiment_id: str, report_run_id: str, studies: Sequence[Study], found: Findings) -> str:
    study = studies[0]
    ascending = not study.higher_is_better
    by_score = trials_view(experiment_id, study.run_id, study.score, ascending=ascending)
    by_memory = trials_view(experiment_id, study.run_id, "peak_memory_mb", ascending=True, shown="TABLE")
    lines = [
        "### Look further\n",
        f"- [All figures and tables]({run_view(experiment_id, report_run_id, 'artifacts')}); `figures/pareto.html` "
        "names each trial under the mouse.",
        f"- [All trials by {study.score or 'name'}, as charts]({by_score}); [by peak memory, as a table]({by_memory}).",
    ]
    lines += [
        f"- [The trials of {other.name} that meet `{other.criteria}`]"
        f"({trials_view(experiment_id, other.run_id, other.score, ascending=ascending, also=IS_FEASIBLE)})."
        for other in studies
        if other.criteria
    ]
    best = [row["run_id"] for row in found.rows("best")[:TOP]]
    if len(best) > 1:
        lines.append(f"- [The {len(best)} best trials in parallel coordinates]({compare_view(experiment_id, best)}).")
    if best:
        lines.append(f"- [What the best trial's process did]({run_view(experiment_id, best[0], 'system-metrics')}).")
    lines += [f"- The study: [{each.name}]({run_view(experiment_id, each.run_id)})." for each in studies]
    return "\n".join(lines)


def _top(found: Findings, metric: str | None) -> dict[str, Any] | None:
    """The hyperparameter that explains most of a metric, of those whose effect is worth a sentence."""
    rows = [row for row in found.rows("effects") if row["metric"] == metric and row["told"]]
    return max(rows, key=lambda row: row["share_of_variance"]) if rows else None


def _is_cost(metric: str) -> bool:
    return not metric.startswith(("train_loss", "val_"))


def _of(group: str) -> str:
    return f" ({group})" if group else ""


def _number(value: float) -> str:
    return "-" if value != value else f"{value:.4g}"


def _percent(value: float) -> str:
    return "-" if value != value else f"{value:.0f} %"


def _regret(value: float) -> str:
    return "no model left" if value != value else "no regret" if value == 0 else f"{value:.4g}"
