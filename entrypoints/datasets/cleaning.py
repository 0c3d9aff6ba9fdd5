"""A frame as a file or a server gave it -> a checked table, or one sentence that says why it cannot be one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from entrypoints.datasets import repeated_ids
from entrypoints.datasets.sources import Asked
from entrypoints.datasets.sysmetrics_rows import (
    COMMA,
    NO_VALUE,
    POINT,
    Category,
    Column,
    Date,
    Number,
    is_numeric,
    own_values,
    texts,
    written,
)
from entrypoints.datasets.tables import Table, Task
from entrypoints.errors import UserError
from entrypoints.text import Echo, closest, listed, shorten

MIN_ROWS = 10
EXAMPLES = 50  # rows that are kept as they are in the file
MAX_CATEGORIES = 1000  # of a categorical feature and of a target
MAX_TARGET = 1e150  # whose square is still a number
MAX_DISTINCT = 0.9  # of the texts of a category; an identifier has more
# A target of whole numbers is usually a regression's if it has more different ones, or if these hardly repeat.
MAX_INTEGER_CLASSES = 20
MIN_ROWS_PER_CLASS = 3  # on average
_INFERRED_NUMBERS = ("integer", "floating", "mixed-integer-float", "decimal")
_LEFT_OUT, _TARGET = "left out", "target"
_READ_AS = (_TARGET, Number.read_as, Date.read_as, Category.read_as, _LEFT_OUT)
# A column in which so many texts are numbers, and so many of them different, is one of numbers with mistakes.
MIN_NUMBERS = 0.95
MIN_DIFFERENT = 20
SOME = 100  # texts, none of which is a number in a column without any
_MARKS = (POINT, COMMA)


def clean(frame: pd.DataFrame, asked: Asked, echo: Echo) -> Table:
    """Return the table that a frame holds.

    Rows without a target are left out. So are features without information, see ``_useless``, but not of a known table.

    Args:
        frame: its ``attrs`` are the table's name and, if any, its OpenML id, its usual target, and of a known table the
            task of that target.
        asked: what the user says of it.
        echo: called with a line that says how each column is read, and one on a column of ids that repeat.

    Raises:
        UserError: the table, its target or one of these columns cannot be used.
    """
    about, what = frame.attrs, asked.what
    names = [str(name).strip() for name in frame.columns]
    _check_names(names, what)
    usual = about.get("target")
    target = asked.target or usual
    if not target:
        raise UserError(f"{what}: the target is not given; name with target= one of the columns {listed(names)}")
    _check_is_column("target", target, names, what)
    others = [name for name in names if name != target]
    for name in asked.dropped:
        _check_is_column("drop", name, others, what)
    frame = frame.set_axis(names, axis="columns")
    reading = Reading(frame, what, asked.decimal)
    if isinstance(reading.of(target), Date):
        raise UserError(
            f"target={target}: the column of {what} holds dates; choose another target, or write numbers to predict, "
            "such as the days until then"
        )
    if isinstance(next(iter(frame[target].dropna()), None), list | tuple | dict | np.ndarray):
        raise UserError(
            f"target={target}: the column of {what} holds lists; choose another target, or write one value in each row"
        )
    frame, y = _with_target(frame, target, reading, echo)
    left_out = dict.fromkeys(asked.dropped, "drop")
    groups = times = None
    if asked.group is not None:
        left_out[asked.group] = "group"
        groups = pd.factorize(_complete(frame, "group", asked.group, others, what))[0]
    if asked.time is not None:
        times = _times(_complete(frame, "time", asked.time, others, what), reading)

    known_task: Task | None = about.get("task") if target == usual else None
    candidates = frame.drop(columns=[target, *left_out])
    columns, features, treatment = _taken(candidates, reading, asked.time, keep_all=known_task is not None)
    treatment |= {name: (_LEFT_OUT, why) for name, why in left_out.items()}
    _check_names([target, *(feature for column in columns for feature in column.names)], what)
    _check_finite(features | {target: y}, what)
    tasks = [known_task] if known_task else tasks_of(y)
    task = asked.scored if asked.scored in tasks else tasks[0]
    treatment[target] = _TARGET, _of_target(task, tasks, y.nunique())
    y = _checked_target(y, task, what)
    treatment = {name: treatment[name] for name in names}
    echo(f"{what}: read as {_line(treatment)}")
    if groups is None and times is None and (ids := repeated_ids.sentence(frame.drop(columns=target))):
        echo(f"{what}: {ids}")
    if not columns:
        raise UserError(
            f"{what}: no feature is left besides the target {target}, since columns that are empty, constant, dropped, "
            f"or text that hardly repeats or has more than {MAX_CATEGORIES} values are not used; "
            "add a feature column"
        )
    whole = pd.DataFrame(features | {target: y}, copy=False)  # a large table is not copied
    whole.attrs = about
    return Table(
        name=about["name"],
        frame=whole,
        target=target,
        task=task,
        openml_id=about.get("openml_id"),
        class_values=own_values(frame[target]) if task == "classification" else {},
        columns=tuple(columns),
        treatment=tuple((name, *how) for name, how in treatment.items()),
        examples=frame[[column.name for column in columns]].head(EXAMPLES).apply(_as_in_file),
        groups=groups,
        times=times,
    )


def _with_target(frame: pd.DataFrame, target: str, reading: Reading, echo: Echo) -> tuple[pd.DataFrame, pd.Series[Any]]:
    """The rows that have a target, and these."""
    y = _features(reading.of(target), frame[target])[target].rename(target)
    missing = y.isna()
    if missing.any():
        echo(f"{reading.what}: {missing.sum()} rows without a value of the target {target} are left out")
        frame = frame[~missing].reset_index(drop=True)
        y = y[~missing].reset_index(drop=True)
    if len(frame) < MIN_ROWS:
        raise UserError(
            f"{reading.what}: {len(frame)} rows with a value of the target {target} found, and at least {MIN_ROWS} are "
            "needed; use a table with more rows"
        )
    return frame, y


def _taken(
    frame: pd.DataFrame, reading: Reading, time: str | None, keep_all: bool
) -> tuple[list[Column], dict[str, pd.Series[Any]], dict[str, tuple[str, str]]]:
    """The columns that tell a model something; the features that they become; what each column is read as.

    Test rows are later than all rows to train on, so a model cannot learn from ``time`` itself, but from its months,
    weekdays and hours.
    """
    columns: list[Column] = []
    features: dict[str, pd.Series[Any]] = {}
    treatment = {}
    for name in map(str, frame.columns):
        column = reading.of(name)
        found = _features(column, frame[name])
        why = "" if keep_all else _useless(column, found[name])
        if why:
            treatment[name] = _LEFT_OUT, why
            continue
        column = column.settled(found)
        if name == time:
            column = replace(column, has_days=False) if isinstance(column, Date) else column
            if not isinstance(column, Date) or not column.parts:
                treatment[name] = _LEFT_OUT, "time"
                continue
        columns.append(column)
        features |= {feature: found[feature] for feature in column.names}
        treatment[name] = column.read_as, column.describe(frame[name], found[name])
    if not all(values.dtype == np.uint8 for values in features.values()):
        features = {name: _as_float(values) for name, values in features.items()}
    return columns, features, treatment


def _complete(frame: pd.DataFrame, option: str, name: str, others: list[str], what: str) -> pd.Series[Any]:
    """A column without missing values, by which rows are split."""
    _check_is_column(option, name, others, what)
    column: pd.Series[Any] = frame[name]
    if column.isna().any():
        raise UserError(
            f"{option}={name}: {column.isna().sum()} rows of {what} have no value there, and each needs one; fill them "
            "in, or leave these rows out"
        )
    return column


def _times(column: pd.Series[Any], reading: Reading) -> NDArray[np.float64]:
    way = reading.of(str(column.name))
    if isinstance(way, Category):
        raise UserError(
            f"time={column.name}: numbers or dates such as 2026-03-01 are allowed, and {reading.what} has "
            f"{column.iloc[0]}; write dates so, or choose another column"
        )
    return way.features(column)[way.name]


def _as_in_file(column: pd.Series[Any]) -> pd.Series[Any]:
    return column if is_numeric(column.dtype) else column.astype(str).where(column.notna())


class Reading:
    """How the columns of a file are read, which depends on their content alone, however they were stored.

    Text is a number or a date where all of a column is. Other text, truth values, and what the format calls a category
    are categories. ``18,000`` and ``01/02/2024`` are read as in the columns that can be read in one way alone.

    Args:
        frame: all columns of the file.
        what: the file in messages.
        decimal: POINT or COMMA, in columns that can be read in both ways; None: as in the others.
    """

    def __init__(self, frame: pd.DataFrame, what: str, decimal: str | None = None) -> None:
        self.frame = frame
        self.what = what
        self.ways = {name: _ways(frame[name]) for name in map(str, frame.columns)}
        certain = {_notation(ways[0]) for ways in self.ways.values() if len(ways) == 1}
        if frame.attrs.get("from_text") and any(_has_fractions(frame[name]) for name in frame):
            certain.add(Number("", POINT))
        if decimal:
            certain = {notation for notation in certain if isinstance(notation, Date)} | {Number("", decimal)}
        self.certain = certain

    def of(self, name: str) -> Column:
        """How a column is read. Raises UserError if nothing tells, or if some of its values do not fit the others."""
        ways = [way for way in self.ways[name] if _notation(way) in self.certain] or self.ways[name]
        way = ways[0] if len(ways) == 1 else self._first(*ways)
        if isinstance(way, Category) and not way.digits:
            self._check_is_text(name)
        if isinstance(way, Number) and way.decimal:
            self._check_has_one_unit(way)
        return way

    def _first(self, way: Column, other: Column) -> Column:
        """The first of two ways, if the other would change nothing."""
        mark = COMMA if isinstance(way, Number) else "/"  # without it, both read a text alike
        found = _distinct(self.frame[way.name])
        unclear = found[found.str.contains(rf"\d{mark}\d")][:1]
        if unclear.empty:
            return way
        advice = "write dates as 2024-12-31"
        if isinstance(way, Number):
            number, by_comma = (each.features(unclear)[way.name][0] for each in (way, other))
            advice = f"give decimal=. if this is {number:.15g}, or decimal=, if it is {by_comma:.15g}"
        raise UserError(
            f"{self.what}: values such as {unclear.iloc[0]} of the column {way.name} can be read in two ways, and no "
            f"other column tells; {advice}, or leave the column out with drop={way.name}"
        )

    def _check_is_text(self, name: str) -> None:
        """Raise UserError if a few texts of a column are not numbers, or if all are, but not written alike."""
        if isinstance(self.frame[name].dtype, pd.CategoricalDtype):
            return
        found = texts(self.frame[name])
        counts = pd.Series(found).value_counts()
        if _are_codes(counts.index) or not any(written(text, mark) for text in counts.index[:SOME] for mark in _MARKS):
            return  # a large column of names is not looked through
        odd = min(([text for text in counts.index if not written(text, mark)] for mark in _MARKS), key=len)
        numbers = counts.drop(odd)
        few = numbers.sum() >= MIN_NUMBERS * counts.sum() and len(numbers) > MIN_DIFFERENT
        if odd and (few or all(written(text, POINT) or written(text, COMMA) for text in odd)):
            raise UserError(
                f"{self.what}: row {np.argmax(found == odd[0]) + 1} of the column {name} holds {shorten(odd[0], 40)}, "
                f"and others hold numbers such as {numbers.index[0]}; correct it, leave the cell empty, or leave the "
                f"column out with drop={name}"
            )

    def _check_has_one_unit(self, way: Number) -> None:
        """Raise UserError if a column has several currencies, or percent signs in some rows alone."""
        numbers = {text: written(text, way.decimal) for text in _distinct(self.frame[way.name])}
        examples = {number[1]: text for text, number in numbers.items() if number}
        if "%" not in examples:
            examples.pop("", None)
        if len(examples) > 1:
            raise UserError(
                f"{self.what}: the column {way.name} has values in several units, such as "
                f"{listed(examples.values())}; write all in one, or leave the column out with drop={way.name}"
            )


def _notation(way: Column) -> Column:
    """A way in which any column may be read."""
    return replace(way, name="")


def _has_fractions(column: pd.Series[Any]) -> bool:
    return pd.api.types.is_float_dtype(column.dtype) and bool((column % 1 > 0).any())


def _distinct(column: pd.Series[Any]) -> pd.Series[str]:
    """The different texts of a column."""
    found: pd.Series[str] = pd.Series(pd.unique(texts(column))).dropna().astype(str)
    return found


def _ways(column: pd.Series[Any]) -> list[Column]:
    """The ways in which a column can be read, at least one; of two, the first is the usual one."""
    name = str(column.name)
    if is_numeric(column.dtype):
        return [Number(name)]
    found = _distinct(column)
    is_category = isinstance(column.dtype, pd.CategoricalDtype)
    if found.empty or (not is_category and pd.api.types.infer_dtype(column, skipna=True) in _INFERRED_NUMBERS):
        return [Number(name)]
    category = Category(name, _digits(found))
    if is_category or category.digits or found.str.isdecimal().all() or found.str.casefold().isin(NO_VALUE).all():
        return [category]
    ways = [Number(name, POINT), Number(name, COMMA), Date(name, month_first=False), Date(name, month_first=True)]
    return [way for way in ways if way.fits(found)] or [category]


def _digits(found: pd.Series[str]) -> int:
    """How long codes are, if some have leading zeros; else 0."""
    codes = found[found.str.isdecimal()]
    return int(codes.str.len().max()) if codes.str.match(r"0\d").any() else 0


def _are_codes(found: pd.Index[str]) -> bool:
    """Whether texts are of one length with digits in each, such as 12345 and 2A345."""
    return found.str.len().nunique() == 1 and bool(found.str.fullmatch(r"[0-9A-Za-z]*\d[0-9A-Za-z]*").all())


def _features(column: Column, values: pd.Series[Any]) -> dict[str, pd.Series[Any]]:
    """What a column becomes: numbers, which are uint8 if all are whole and from 0 to 255, else float64; or categories.

    The categories are sorted text, and all occur.
    """
    if values.dtype == np.uint8:
        return {column.name: values}
    return {name: pd.Series(_stored(each), index=values.index) for name, each in column.features(values).items()}


def _stored(values: NDArray[Any]) -> Any:
    if values.dtype == object:
        return pd.Categorical(values, categories=pd.Index(sorted({*values[~pd.isna(values)]}), dtype=str))
    # NaN compares false; the largest byte bounds what the cast may wrap.
    with np.errstate(invalid="ignore"):
        in_range = bool(((values >= 0) & (values <= 255)).all())
    return values.astype(np.uint8) if in_range and not np.mod(values, 1).any() else values


def _as_float(values: pd.Series[Any]) -> pd.Series[Any]:
    return values.astype(float) if values.dtype == np.uint8 else values


def _useless(column: Column, values: pd.Series[Any]) -> str:
    """Why a feature tells a model nothing; empty if it may tell something."""
    distinct = values.nunique()
    if distinct < 2:
        return "constant" if distinct else "empty"
    if not isinstance(column, Category):
        return ""
    if distinct > MAX_DISTINCT * values.count():
        return "identifier: its text hardly repeats"
    return f"{distinct} different texts" if distinct > MAX_CATEGORIES else ""


def _line(treatment: Mapping[str, tuple[str, str]]) -> str:
    parts: dict[str, list[str]] = {kind: [] for kind in _READ_AS}
    for name, (kind, details) in treatment.items():
        if kind in parts and (details or kind != _TARGET):
            parts[kind].append(f"{name} ({details})" if details else name)
    return "; ".join(f"{kind}: {listed(names)}" for kind, names in parts.items() if names)


def tasks_of(target: pd.Series[Any]) -> list[Task]:
    """The tasks that a target without missing values may be of, the usual one first.

    Classification of text, categories and booleans; regression of numbers with fractions. Whole numbers with three rows
    each on average may be both: up to 20 different ones are usually classes.
    """
    if not is_numeric(target.dtype):
        return ["classification"]
    values = np.unique(target)
    if np.mod(values, 1).any() or len(values) > min(MAX_CATEGORIES, len(target) / MIN_ROWS_PER_CLASS):
        return ["regression"]
    if len(values) > MAX_INTEGER_CLASSES:
        return ["regression", "classification"]
    return ["classification", "regression"]


def _of_target(task: Task, tasks: list[Task], classes: int) -> str:
    """How a target is read that can be read otherwise, and how to have that; empty where nobody would ask."""
    if len(tasks) < 2 or classes < 3:
        return ""
    if task == "classification":
        return f"{classes} classes; a score of numbers, such as metric=rmse, makes it a number"
    return f"a number; a score of classes, such as metric=accuracy, makes it {classes} classes"


def _check_names(names: list[str], what: str) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise UserError(f"{what}: the column name {listed(twice)} occurs more than once; give each column its own name")


def _check_is_column(option: str, name: str, allowed: list[str], what: str) -> None:
    if name not in allowed:
        advice = closest(name, allowed, "use one of these names")
        raise UserError(f"{option}={name}: one of the columns of {what} is allowed: {listed(allowed)}; {advice}")


def _check_finite(columns: Mapping[str, Any], what: str) -> None:
    infinite = [name for name, values in columns.items() if values.dtype == np.float64 and np.isinf(values).any()]
    if infinite:
        raise UserError(
            f"{what}: infinite values found in the column {listed(infinite)}; replace them by numbers or leave them out"
        )


def _checked_target(target: pd.Series[Any], task: Task, what: str) -> pd.Series[Any]:
    distinct = target.nunique()
    if distinct < 2:
        raise UserError(
            f"target={target.name}: all {len(target)} rows of {what} hold {target.iloc[0]}; choose a column with at "
            "least two values"
        )
    if task == "regression":
        values: pd.Series[Any] = target.astype(np.float64)
        if values.abs().max() > MAX_TARGET:
            raise UserError(
                f"target={target.name}: {what} has {values.abs().max():g}, and values up to {MAX_TARGET:g} are "
                "allowed, since errors are squared; divide the column by a power of ten"
            )
        return values
    if distinct > MAX_CATEGORIES:
        raise UserError(
            f"target={target.name}: {distinct} classes found in {what}, and at most {MAX_CATEGORIES} are allowed; "
            "choose a column with fewer, or with numbers for a regression"
        )
    labels: pd.Series[Any] = pd.Series(texts(target).tolist())
    return labels
