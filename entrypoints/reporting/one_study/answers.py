"""A report's one page: the answers in words. Every number in it comes from the tables that are logged beside it."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from entrypoints.limits.costs import SYSTEM_FIGURES
from entrypoints.limits.order_effect import told
from entrypoints.links import compare_view, run_view
from entrypoints.reporting import hosts
from entrypoints.reporting.findings import Findings
from entrypoints.reporting.hyperparameters import answers as effect_answers
from entrypoints.reporting.markdown import cell, code, page, picture, table
from entrypoints.reporting.one_study.decision import in_words
from entrypoints.reporting.savings import answers as savings_answers
from entrypoints.reporting.savings.answers import ROUNDING
from entrypoints.reporting.studies import Study
from entrypoints.reporting.training import answers as training_answers
from entrypoints.reporting.training.drift import TOO_FEW
from entrypoints.reporting.words import figure, unit
from entrypoints.views import LIMITS, TABLE

TOP = 5
MAX_SHOWN = 9
FIGURES = (
    "pareto",
    "during_training",
    "over_time",
    "effect_sizes",
    "interaction",
    "step_law",
    "savings",
    "tradeoff",
    "predicted",
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
    pictures = [picture(report_run_id, name) for name in FIGURES if name in drawn]
    head = [
        f"## {decision}\n{costs}".strip(),
        "\n".join(f"- {line}" for line in _answers(study, found)),
        _counts(found),
    ]
    tables = {
        "What hyperparameters change": [
            effect_answers.effects_table(found, shown(study)),
            *effect_answers.details(study, found),
        ],
        "What limits save": _savings(found),
        "During training": _during(found),
        "Score against cost": _pareto(study, found),
        "Configurations that differ significantly": _compared(found),
        "How right predictions are": [savings_answers.calibration_table(found.rows("calibration"))],
    }
    sections = {
        "Figures": pictures,
        **{title: ["\n\n".join(filter(None, lines))] for title, lines in tables.items()},  # as a whole or not at all
        "Look further": [_next(experiment_id, report_run_id, studies, found)],
    }
    return page("\n\n".join(filter(None, head)), sections, kept=("Look further", "Figures"))


def in_short(study: Study, found: Findings) -> str:
    """The decision and the answers in a few lines, for the terminal."""
    lines = [*in_words(found.rows("decision"), study), *_answers(study, found)]
    return "\n".join(line.replace("**", "").replace("`", "") for line in lines if line)


def _answers(study: Study, found: Findings) -> list[str]:
    """A line for each question, for what was tested and not found, and for what could not be judged."""
    changes = [found.rows(name) for name in ("drift", "drift_by_batch_size", "memory_jumps")]
    unclear = ", ".join(training_answers.unclear(changes[0]))
    answers = {
        "During training": training_answers.sentences(*changes),
        "Hyperparameters": [*effect_answers.sentences(study, found), *told(study.order.values()), _placed(found)],
        "Limits": [
            *savings_answers.saved(found.rows("rules"), found.rows("savings_by_criterion")),
            savings_answers.calibrated(found.rows("calibration")),
        ],
    }
    lines = [f"**{question}**: {' '.join(filter(None, said))}" for question, said in answers.items() if any(said)]
    not_found = [
        effect_answers.not_found(found),
        f"Whether these change during training is unclear: {unclear}." if unclear else "",
    ]
    no_trend = "" if any(row["verdict"] != TOO_FEW for row in changes[0]) else training_answers.not_judged(changes[0])
    noise = effect_answers.noise_unknown(study, found)
    not_judged = [effect_answers.not_judged(found), no_trend, noise, hosts.of_several(study)]
    others = [" ".join(filter(None, said)) for said in (not_found, not_judged)]
    return [line for line in (*lines, *others, *found.open_questions) if line]


def _placed(found: Findings) -> str:
    """A sentence if the effect of the order was removed from reported effects; empty if not."""
    rows = [row for row in found.rows("effects") if row["told"] and row["place_taken_out"]]
    names = dict.fromkeys(f"`{row['metric']}`" for row in rows)
    return f"Effects on {', '.join(names)} are given for the middle of that order." if names else ""


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


def _during(found: Findings) -> list[str]:
    rows = [row for row in found.rows("drift") if row["verdict"] != TOO_FEW]
    columns = {
        "metric": lambda row: f"`{row['metric']}`{_of(row['group'])}",
        "against": cell("axis"),
        "trials": cell("trials"),
        "level": lambda row: f"{figure(row['level'])} {unit(row['metric'])}".rstrip(),
        "change": lambda row: f"{row['change']:+.2g}",
        "95 % interval": lambda row: f"{row['low']:+.2g} to {row['high']:+.2g}",
        "so it": cell("verdict"),
    }
    return [table(columns, rows), training_answers.not_judged(found.rows("drift")) if rows else ""]


def _savings(found: Findings) -> list[str]:
    rows = found.rows("rules")
    patience = "`patience` stops trials that meet the limits but improve no longer: these count as stopped, too."
    return [
        savings_answers.rules_table(rows),
        patience if any("patience" in row["rule"] for row in rows) else "",
        savings_answers.criteria_table(found.rows("savings_by_criterion")),
        _tradeoff(found),
    ]


def _tradeoff(found: Findings) -> str:
    known = [row for row in found.rows("tradeoff") if row["val_regret_all"] == row["val_regret_all"]]
    free = savings_answers.free(known)
    if not known:
        return ""
    tightens = f"As the limit on `{known[0]['metric']}` tightens (replayed{savings_answers.over(known[0])})"
    tightest = known[-1]
    lost = tightest["val_regret_all"]
    price = (
        f"the tightest, {figure(tightest['limit'])}, saves {tightest['saved_cpu_percent']:.0f} % "
        f"{f'at a regret of {figure(lost)} against' if lost > ROUNDING else 'and keeps'} the best of all trials"
    )
    if not free:
        return f"{tightens}, {price}."
    last = free[-1] is tightest
    return (
        f"{tightens}, the best of all trials is kept down to {'the tightest, ' if last else ''}"
        f"{figure(free[-1]['limit'])}, which saves {free[-1]['saved_cpu_percent']:.0f} % of the CPU"
        + ("." if last else f"; {price}.")
    )


def _compared(found: Findings) -> list[str]:
    pairs = found.rows("pairs")
    if not pairs:
        return []
    different = sum(row["different"] for row in pairs)
    return [
        f"Of the {len(pairs) + 1} best by one half of the folds, compared on the other half: the best differs from "
        f"**{different}** of the other {len(pairs)} at 1 % (corrected resampled t-test, Holm)."
    ]


def _pareto(study: Study, found: Findings) -> list[str]:
    rows = found.rows("pareto")
    if not rows:
        return []
    columns = {
        "cost": cell("cost", code),
        "trials on the front": cell("trials"),
        "cheapest": lambda row: f"{figure(row['cheapest'])} with {study.score} {figure(row['cheapest_score'])}",
        "best": lambda row: f"{figure(row['best'])} with {study.score} {figure(row['best_score'])}",
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
    by = f"by {study.score}" if study.score else "by name"
    lines = [
        f"- [All figures and tables]({run_view(experiment_id, report_run_id, 'artifacts')}); `figures/pareto.html` "
        "names each trial under the mouse.",
        f"- [All trials {by}, against what they cost]({study.page()}); [as a table]({study.page(TABLE)}).",
    ]
    lines += [
        f"- [The trials of {other.name} that meet `{other.criteria}`]({other.page(LIMITS)})."
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


def _of(group: str) -> str:
    return f" ({group})" if group else ""
