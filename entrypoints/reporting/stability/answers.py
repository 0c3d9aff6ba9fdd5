"""The page of a report on repeated studies. Every number in it comes from the tables that are logged beside it."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from entrypoints.limits.noise import TOLD_P
from entrypoints.links import run_view
from entrypoints.reporting import hosts
from entrypoints.reporting.findings import FRONT_COSTS
from entrypoints.reporting.markdown import LAST, cell, code, is_p, last_sections, page, picture, table
from entrypoints.reporting.stability.compare import INCOMPLETE, SAME, WITHIN, WORSE, Stability
from entrypoints.reporting.stability.costs import AGREES, LESS, MORE, OF_MEDIAN
from entrypoints.reporting.words import figure, listed, number, percent, unit

COSTS_FIGURE, RANKS_FIGURE = "stability_costs", "stability_ranks"
IN_SHORT = 3  # costs that the first lines name, those of the front before others
MANY_TIMES = 10.0  # a ratio that needs no decimals
MAX_LINKED = 8  # studies of which the page has all links and facts; of more it has what tells them apart


def description(experiment_id: str, report_run_id: str, stability: Stability, drawn: Collection[str]) -> str:
    """The report's page in the UI, in Markdown: its first two lines hold the answer.

    Args:
        experiment_id: where the report is.
        report_run_id: its run, which holds the figures.
        stability: what was found.
        drawn: the names of the figures there are.
    """
    pictures = {name: picture(report_run_id, name) for name in drawn}
    across, *costs = _costs(stability)
    sections = {
        "The best configuration": [*_best(stability), _split(stability)],
        "Ranks": [_ranks(stability), pictures.get(RANKS_FIGURE, "")],
        "Costs": [across, pictures.get(COSTS_FIGURE, ""), *costs],
        "The studies": [_studies(stability)],
        **last_sections(stability.found.open_questions, HOW, run_view(experiment_id, report_run_id, "artifacts")),
    }
    return page(in_short(stability, "## "), sections, kept=("The studies", *LAST))


HOW = (
    "Configurations that all studies tried are compared one by one; nothing is averaged over studies. Another study's "
    "best configuration counts as worse if a t-test with the noise of the folds is significant at 1 % after correction "
    "for all configurations and studies. A cost differs if its ratios over the configurations do (Wilcoxon's "
    "signed-rank test, 1 % after Holm's correction) by more than noise and 5 %, in memory 0.1 MB; it agrees if the "
    "95 % interval of the median ratio lies within that. W is Kendall's, from 0 (no agreement) to 1."
)


def in_short(stability: Stability, mark: str = "") -> str:
    """The answer in two lines: whether the best configuration is stable, then ranks and costs."""
    dataset = next(iter(stability.studies.values())).dataset or "One dataset"
    over = f"{len(stability.studies)} studies"
    seeds = f" (seeds {', '.join(stability.seeds)})" if len(stability.seeds) > 1 else ""
    more = [_ranks_in_short(stability), _costs_in_short(stability)]
    return f"{mark}{dataset} in {over}{seeds}: {_verdict(stability)}\n{' '.join(line for line in more if line)}"


def _verdict(stability: Stability) -> str:
    verdicts = {row["verdict"] for row in stability.found.rows("stability_best")}
    if not verdicts:
        return "what is best cannot be compared"
    if verdicts == {SAME}:
        return "the same configuration is best in all"
    if verdicts <= {SAME, WITHIN}:
        return "the best configurations differ, and are equal within noise"
    if verdicts & {WORSE, INCOMPLETE}:
        return "the best configuration depends on the study"
    return "the best configurations differ, but it is unclear whether by more than noise"


def _best(stability: Stability) -> list[str]:
    rows = stability.found.rows("stability_best")
    columns = {
        "best in": cell("study"),
        "configuration": cell("configuration"),
        "in": cell("in_study"),
        "its score there": cell("score", figure),
        "the best there": cell("best_score", figure),
        "loss": cell("loss", figure),
        "noise margin": cell("margin", figure),
        "so it is": cell("verdict"),
    }
    return [*(_choice(row) for row in stability.found.rows("stability_choice")), table(columns, rows)]


def _choice(row: dict[str, Any]) -> str:
    """The safest configuration: its largest loss over the studies is the smallest."""
    worse = "the best in each study"
    if row["worst_loss"] > 0:
        worse = f"at most {figure(row['worst_loss'])} worse than the best of any study"
    choice = f"Safest choice: {row['configuration']}, {worse}."
    if "equal_in_all" not in row:
        return f"{choice} How many configurations equal the best is unknown, since the noise of a study is."
    equal = (
        f"{row['equal_in_all']} of {row['configurations']} configurations equal the best within noise in all studies"
    )
    return f"{choice} {equal}."


def _split(stability: Stability) -> str:
    if len(stability.seeds) < 2:
        return ""
    return (
        "Seeds differ, so the rows for training and test and the folds do, too: a score may differ by the split alone. "
        "Compare configurations within a study, not scores between studies."
    )


def _ranks_in_short(stability: Stability) -> str:
    rows = stability.found.rows("stability_ranks")
    if not rows:
        return ""
    row = rows[0]
    to = f"W {row['kendalls_w']:.2f} (1: fully; by chance {row['w_by_chance']:.2f}; {is_p(row['p_value'])})"
    if not row["p_value"] < TOLD_P:
        return f"Ranks of {row['configurations']} configurations agree no more than by chance: {to}."
    return (
        f"Ranks of {row['configurations']} configurations agree to {to}; of the {row['top']} best "
        f"{row['top_shared_by_all']} are the same in all."
    )


def _ranks(stability: Stability) -> str:
    columns = {
        "studies": lambda row: f"{row['first']}, {row['second']}",
        "configurations": cell("configurations"),
        "rank correlation (Spearman)": lambda row: f"{row['spearman']:.2f}",
        "best in both": lambda row: f"{row['top_shared']} of {row['top']}",
        "by chance": lambda row: f"{row['by_chance']:.1f}",
    }
    return table(columns, stability.found.rows("stability_ranks"))


def _costs_in_short(stability: Stability) -> str:
    """On which hosts and cores, which costs differ, those of a decision first; how many agree."""
    rows = stability.found.rows("stability_costs")
    told = sorted(
        (row for row in rows if row["verdict"] in (MORE, LESS)), key=lambda row: row["figure"] not in FRONT_COSTS
    )
    parts = [difference(row) for row in told[:IN_SHORT]]
    parts += [f"{len(told) - IN_SHORT} more differ"] if len(told) > IN_SHORT else []
    names, within = _agreeing(rows)
    figures = len({row["figure"] for row in rows})
    parts += [f"{len(names)} of {figures} figures agree within {percent(within)}"] if names else []
    across = _across(stability)
    return f"{across} {'; '.join(parts)}.".strip() if parts else across


def _across(stability: Stability) -> str:
    """What differs between the studies that costs depend on, a sentence each; empty if nothing does."""
    cores = {name: hosts.at_once(study) or "unknown" for name, study in stability.studies.items()}
    each = ", ".join(f"{value} in {name}" for name, value in cores.items())
    at_once = f"Trials at once differ ({each}): what a trial costs also depends on how many run beside it."
    said = (hosts.compared(stability.studies), at_once if len(set(cores.values())) > 1 else "")
    return " ".join(filter(None, said))


def difference(row: dict[str, Any]) -> str:
    """That a figure differs between two studies, in words.

    Args:
        row: of the table ``stability_costs``.
    """
    return (
        f"`{row['figure']}` is {_times(row['ratio'])} times as high in {row['second']} as in {row['first']} (noise "
        f"{percent(row['noise_percent'])})"
    )


def _agreeing(rows: list[dict[str, Any]]) -> tuple[list[str], float]:
    """The figures that agree between the first study and each other, and within how many percent all of them do."""
    verdicts: dict[str, set[str]] = {}
    for row in rows:
        verdicts.setdefault(row["figure"], set()).add(row["verdict"])
    names = [name for name, of in verdicts.items() if of == {AGREES}]
    return names, max((row["within_percent"] for row in rows if row["figure"] in names), default=0.0)


def _costs(stability: Stability) -> list[str]:
    rows = stability.found.rows("stability_costs")
    told = [row for row in rows if row["verdict"] in (MORE, LESS)]
    columns = {
        "figure": cell("figure", code),
        "median": lambda row: f"{number(row['median_first'])} in {row['first']}",
        "against": lambda row: f"{number(row['median_second'])} in {row['second']}",
        "ratio": cell("ratio", _times),
        "95 % interval": lambda row: _range(row["low"], row["high"]),
        "middle 90 % of configurations": lambda row: _range(row["low_90"], row["high_90"]),
        "n": cell("configurations"),
        "noise": cell("noise_percent", percent),
        "so it": lambda row: "differs" if row in told else str(row["verdict"]),
    }
    names, within = _agreeing(rows)
    sentences = [f"{difference(row)}." for row in told]
    sentences += [f"{listed([f'`{name}`' for name in names])} agree within {percent(within)}."] if names else []
    body = "\n".join(f"- {sentence}" for sentence in [*sentences, *_limits(told)])
    return [_across(stability) if rows else "", body, table(columns, rows)]


def _limits(told: list[dict[str, Any]]) -> list[str]:
    """What a limit that was chosen on the first study would decide otherwise in another, a sentence each."""
    changed: dict[str, list[str]] = {}
    for row in told:
        if row["limit_changes"]:
            what = f"{row['limit_changes']} of {row['configurations']} by `{row['figure']}`"
            limit = f"{number(row['limit'])} {unit(row['figure'])}".strip()
            changed.setdefault(row["second"], []).append(f"{what} ({limit})")
    return [
        f"A limit of {OF_MEDIAN:g} x the median of {told[0]['first']} decides otherwise on configurations of {name}: "
        f"{', '.join(of)}."
        for name, of in changed.items()
    ]


def _studies(stability: Stability) -> str:
    studies = stability.studies
    columns: dict[str, Callable[[Any], str]] = {
        "": cell("study"),
        "study": lambda row: f"[{row['name']}]({run_view(studies[row['study']].experiment_id, row['study_id'])})",
        "its trials": lambda row: f"[by score]({studies[row['study']].page()})",
        "seed": lambda row: str(row["seed"] or "-"),
        "complete": lambda row: f"{row['complete']} of {row['trials']}",
        "host": lambda row: str(row["host"] or "-"),
    }
    if len(studies) > MAX_LINKED:
        del columns["its trials"]
        differing = hosts.differing(list(studies.values()))
        columns["host"] = lambda row: hosts.called(studies[row["study"]], differing) or "the same"
    return table(columns, stability.found.rows("studies"))


def _times(ratio: float) -> str:
    return f"{ratio:.2f}" if ratio < MANY_TIMES else number(ratio)


def _range(low: float, high: float) -> str:
    return "-" if low != low else f"{low:.2f} to {high:.2f}"
