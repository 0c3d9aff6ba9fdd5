"""RQ1 in words: what costs do while models train. Every number comes from the tables drift and memory_jumps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from entrypoints.reporting.training.curves import STEPS
from entrypoints.reporting.training.drift import FALLS, RISES, STEADY, TOO_FEW, UNCLEAR
from entrypoints.reporting.training.memory_jumps import METRIC
from entrypoints.reporting.words import is_score, listed, number, percent, signed, unit

Row = Mapping[str, Any]
_SERIES = "system/process_"


def sentences(drift: Sequence[Row], by_batch_size: Sequence[Row], jumps: Sequence[Row]) -> list[str]:
    """What changes, what stays, where memory jumps, which batch size differs: at most one sentence each, in Markdown.

    Args:
        drift: the rows of the table ``drift``.
        by_batch_size: those of ``drift_by_batch_size``.
        jumps: those of ``memory_jumps``.
    """
    rows = _judged(drift)
    said = [_changes(rows), _stays(rows), _jumps(_named(jumps)), _differs(_named(by_batch_size))]
    return [sentence for sentence in said if sentence]


def unclear(drift: Sequence[Row]) -> list[str]:
    """The names, in Markdown, of tested costs for which it is unclear whether they change."""
    return [_name(row) for row in _judged(drift) if row["verdict"] == UNCLEAR]


def shape(row: Row) -> str:
    """What one curve does, in short: `rises by 0.5 MB (0.3 %)`, `steady at 96 % of a core`; in percent alone where the
    row has no level.

    Args:
        row: of the table ``drift``.
    """
    verdict, in_units = row["verdict"], row["level"] == row["level"]
    if verdict in (RISES, FALLS):
        share = percent(abs(row["change_percent"]))
        return f"{_by(row)} ({share})" if in_units else f"{verdict} by {share}"
    if verdict == UNCLEAR:
        return f"{verdict} ({signed(row['low_percent'])} to {signed(row['high_percent'])} %)"
    return f"{verdict} at {_amount(row['metric'], row['level'])}" if verdict == STEADY and in_units else str(verdict)


def not_judged(drift: Sequence[Row]) -> str:
    """The curves of which too few trials are long enough, in a sentence; empty if there are none."""
    short = [row for row in drift if row["verdict"] == TOO_FEW]
    names = []
    for metric in dict.fromkeys(row["metric"] for row in short):
        own = [row for row in short if row["metric"] == metric]
        all_groups = len(own) == sum(row["metric"] == metric for row in drift)
        names += [f"`{metric}`"] if all_groups else [_name(row) for row in own]
    which = "any curve" if len(short) == len(drift) else ", ".join(names)
    return f"Too few trials are long enough to judge {which}: four points make a trend." if short else ""


def _judged(drift: Sequence[Row]) -> list[Row]:
    """One row for each cost and group: that by training step, or, without enough trials, the thread's series."""
    rows: dict[tuple[str, str], Row] = {}
    for row in sorted(drift, key=lambda row: row["axis"] == STEPS):  # the later one stays
        if row["verdict"] != TOO_FEW and not is_score(row["metric"]):  # that a loss falls is expected
            rows[row["metric"].removeprefix(_SERIES), row["group"]] = row
    places = [row["metric"] for row in drift]
    return _named(sorted(rows.values(), key=lambda row: places.index(row["metric"])))


def _named(rows: Sequence[Row]) -> list[Row]:
    """The rows, without the name of a group that is the only one."""
    several = len({row["group"] for row in rows}) > 1
    return [row if several else {**row, "group": ""} for row in rows]


def _changes(rows: Sequence[Row]) -> str:
    parts = []
    for row in rows:
        if row["verdict"] in (RISES, FALLS):
            low, high = (row["low"], row["high"]) if row["verdict"] == RISES else (-row["high"], -row["low"])
            parts.append(
                f"{_name(row)} {_by(row)} ({percent(abs(row['change_percent']))}; 95 % interval {_short(low)} to "
                f"{_short(high)})"
            )
    return f"{listed(parts)}." if parts else ""


def _stays(rows: Sequence[Row]) -> str:
    """Groups that all stay are one: the level, or from the lowest to the highest."""
    levels = []
    for metric in dict.fromkeys(row["metric"] for row in rows):
        of = [row for row in rows if row["metric"] == metric]
        steady = [row for row in of if row["verdict"] == STEADY]
        together = [(f"`{metric}`", steady)] if len(steady) == len(of) else [(_name(row), [row]) for row in steady]
        levels += [(name, _between(metric, [float(row["level"]) for row in those])) for name, those in together]
    if not levels:
        return ""
    (name, level), *others = levels
    return f"{listed([f'{name} stays at {level}', *(f'{name} at {level}' for name, level in others)])}, within 5 %."


def _jumps(jumps: Sequence[Row]) -> str:
    parts = []
    for row in jumps:
        if row["told"]:
            ways = [f"{row[way]} {way} by {_short(row[f'{way}_mb'])} MB" for way in ("up", "down") if row[way]]
            parts.append(
                f"in {row['with_jumps']} of {row['trials']} trials{_of(row)}: {listed(ways)}, after "
                f"{percent(row['progress_percent'])} of the training"
            )
    return f"`{METRIC}` jumps to another level {'; '.join(parts)} (medians)." if parts else ""


def _differs(by_batch_size: Sequence[Row]) -> str:
    parts = [
        f"{_name(row)} changes by {row['change']:+.2g} {unit(row['metric'])} ({signed(row['change_percent'])} %) at "
        f"batch size {row['batch_size']:g}, by {row['rest']:+.2g} ({signed(row['rest_percent'])} %) at the others"
        for row in by_batch_size
        if row["told"]
    ]
    return f"{'; '.join(parts)}." if parts else ""


def _by(row: Row) -> str:
    return f"{row['verdict']} by {_short(abs(row['change']))} {unit(row['metric'])}".rstrip()


def _between(metric: str, values: Sequence[float]) -> str:
    low, high = number(min(values)), _amount(metric, max(values))
    return high if low == number(max(values)) else f"{low} to {high}"


def _short(value: float) -> str:
    """A change as it is read: two digits."""
    return f"{value:.2g}" if abs(value) < 100 else number(value)


def _amount(metric: str, value: float) -> str:
    return f"{number(value)} {unit(metric)}".rstrip()


def _name(row: Row) -> str:
    return f"`{row['metric']}`{_of(row)}"


def _of(row: Row) -> str:
    return f" ({row['group']})" if row["group"] else ""
