"""A frame as a file or a server gave it -> a checked table, or one sentence that says why it cannot be one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from entrypoints.datasets.sysmetrics_raw_rows import (
    CATEGORY,
    DATE,
    DECIMAL_COMMA,
    NUMBER,
    PARTS,
    Column,
    is_numeric,
    own_values,
    texts,
)
from entrypoints.datasets.tables import Table, Task
from entrypoints.errors import UserError
from entrypoints.text import Echo, closest, listed

MIN_ROWS = 10
EXAMPLES = 50  # rows that are kept as they are in the file
MAX_CATEGORIES = 1000  # of a categorical feature, which is one-hot encoded, and of a target
MAX_DISTINCT = 0.9  # of the texts of a category; an identifier has more
# A target of whole numbers is a regression's if it has more different ones, or if these hardly repeat.
MAX_INTEGER_CLASSES = 20
MIN_ROWS_PER_CLASS = 3  # on average
_INFERRED_NUMBERS = ("integer", "floating", "mixed-integer-float", "decimal")
_DATE = r"(\d{4}-\d\d-\d\d|\d{1,2}\.\d{1,2}\.\d{4}|\d{1,2}/\d{1,2}/\d{4})([T ]\d{1,2}:\d\d.*)?"
_WITH_COMMAS = r"[-+]?(\d{1,3}([.,]\d{3})+|\d+)([.,]\d+)?([eE][-+]?\d+)?"
_THOUSANDS = r"[-+]?[1-9]\d{0,2},\d{3}"
_LEFT_OUT = "left out"
_READ_AS = ("numbers", "numbers with decimal commas", "dates", "categories", _LEFT_OUT)


def clean(
    frame: pd.DataFrame,
    target: str | None,
    *,
    what: str,
    echo: Echo,
    drop: Collection[str] = (),
    task: Task | None = None,
    keep_all: bool = False,
    group: str | None = None,
    time: str | None = None,
) -> Table:
    """Return the table that a frame holds.

    Rows without a target are left out. So are features without information, unless ``keep_all``: empty or constant
    ones, and texts that hardly repeat or have more than 1000 categories. ``echo`` gets a line that says how each column
    is read. ``what`` names the table in messages, e.g. "dataset=mine.csv".

    Args:
        frame: its ``attrs`` are the table's name, its OpenML id and its usual target, the last two if any.
        target: the column to predict; by default the usual one.
        drop: columns that are not features.
        task: by default that of ``task_of``.
        keep_all: see above.
        group: the column whose equal values are one group of rows; it is not a feature.
        time: the column of numbers or dates that orders the rows.

    Raises:
        UserError: the table, its target or one of these columns cannot be used.
    """
    names, about = [str(name).strip() for name in frame.columns], frame.attrs
    _check_names(names, what)
    target = target or about.get("target")
    if not target:
        raise UserError(f"{what}: the target is not given; name with target= one of the columns {listed(names)}")
    _check_is_column("target", target, names, what)
    for each in drop:
        _check_is_column("drop", each, [name for name in names if name != target], what)
    frame = frame.set_axis(names, axis="columns")
    y = _features(_how_read(frame[target], what), frame[target])[target].rename(target)
    missing = y.isna().to_numpy()
    if missing.any():
        echo(f"{what}: {missing.sum()} rows without a value of the target {target} are left out")
        frame, y = frame[~missing].reset_index(drop=True), y[~missing].reset_index(drop=True)
    if len(frame) < MIN_ROWS:
        raise UserError(
            f"{what}: {len(frame)} rows with a value of the target {target} found, and at least {MIN_ROWS} are "
            "needed; use a table with more rows"
        )
    groups = None if group is None else pd.factorize(_complete(frame, "group", group, target, what))[0]
    times = None if time is None else _times(_complete(frame, "time", time, target, what), what)
    no_features = dict.fromkeys(drop, "drop") | ({} if group is None else {group: "group"})
    columns, features, useless = _taken(frame.drop(columns=[target, *no_features]), set(names), what, keep_all)
    left_out = no_features | useless
    treatment = {target: ("target", "")} | _told(columns, features)
    treatment |= {name: (_LEFT_OUT, why) for name, why in left_out.items()}
    _check_finite(features | {target: y}, what)
    task = task or task_of(y)
    y = _checked_target(y, task, what)
    echo(f"{what}: read as {_line(treatment)}")
    if not columns:
        raise UserError(
            f"{what}: no feature is left besides the target {target}, since columns that are empty, constant, dropped, "
            f"or text that hardly repeats or has more than {MAX_CATEGORIES} values are not used; add a feature column"
        )
    if not all(values.dtype == np.uint8 for values in features.values()):
        features = {name: each.astype(float) if each.dtype == np.uint8 else each for name, each in features.items()}
    whole = pd.DataFrame(features | {target: y}, copy=False)  # a large table is not copied
    whole.attrs = about
    used = frame[[column.name for column in columns]].head(EXAMPLES)
    return Table(
        name=about["name"],
        frame=whole,
        target=target,
        task=task,
        openml_id=about.get("openml_id"),
        class_values=own_values(frame[target]) if task == "classification" else {},
        columns=tuple(columns),
        treatment=tuple((name, *treatment[name]) for name in names),
        examples=used.apply(lambda each: each if is_numeric(each.dtype) else each.astype(str).where(each.notna())),
        groups=groups,
        times=times,
    )


def _complete(frame: pd.DataFrame, option: str, name: str, target: str, what: str) -> pd.Series[Any]:
    """A column without missing values, by which rows are split."""
    _check_is_column(option, name, [str(each) for each in frame.columns if each != target], what)
    column: pd.Series[Any] = frame[name]
    if column.isna().any():
        raise UserError(
            f"{option}={name}: {column.isna().sum()} rows of {what} have no value there, and each needs one; fill them "
            "in, or leave these rows out"
        )
    return column


def _times(column: pd.Series[Any], what: str) -> NDArray[np.float64]:
    way = _how_read(column, what)
    if way.kind == CATEGORY:
        raise UserError(
            f"time={column.name}: numbers or dates such as 2026-03-01 are allowed, and {what} has {column.iloc[0]}; "
            "write dates so, or choose another column"
        )
    return way.features(column)[way.name]


def _taken(
    frame: pd.DataFrame, names: Collection[str], what: str, keep_all: bool
) -> tuple[list[Column], dict[str, pd.Series[Any]], dict[str, str]]:
    """The columns that tell a model something, or all; the features that they become; and why the others do not.

    `names` are those of all columns of the file, the target's among them.
    """
    columns: list[Column] = []
    features: dict[str, pd.Series[Any]] = {}
    useless = {}
    for name in map(str, frame.columns):
        column = _named_apart(_how_read(frame[name], what), names)
        found = _features(column, frame[name])
        if not keep_all and (why := _useless(found[name])):
            useless[name] = why
            continue
        # A time of day that is always midnight, or a month that is always January, is not a feature.
        parts = zip(column.parts, column.names[1:], strict=True)
        column = replace(column, parts=tuple(part for part, feature in parts if found[feature].nunique() > 1))
        columns.append(column)
        features |= {each: found[each] for each in column.names}
    return columns, features, useless


def _named_apart(column: Column, names: Collection[str]) -> Column:
    """The same column, none of whose derived features has the name of a column of the file."""
    while not set(names).isdisjoint(column.names[1:]):
        column = replace(column, stem=f"{column.stem or column.name} date")
    return column


def _how_read(column: pd.Series[Any], what: str) -> Column:
    """How a column is read, which depends on its content alone, however it was stored.

    Text is a number where it can only be one with a decimal comma, or a date. Other text, truth values, and what the
    format calls a category are categories.
    """
    name = str(column.name)
    if is_numeric(column.dtype):
        return Column(name, NUMBER)
    present = pd.Series(texts(column)).dropna().astype(str)
    is_category = isinstance(column.dtype, pd.CategoricalDtype)
    if not len(present) or (not is_category and pd.api.types.infer_dtype(column, skipna=True) in _INFERRED_NUMBERS):
        return Column(name, NUMBER)
    category = Column(name, CATEGORY, digits=_digits(present))
    if is_category:
        return category
    ways = []
    if present.str.fullmatch(_DATE).all():
        for month_first in (False, True) if present.str.contains("/", regex=False).any() else (False,):
            way = Column(name, DATE, month_first=month_first, parts=PARTS)
            with suppress(ValueError):  # no 31st of February
                way.features(column)
                ways.append(way)
    with_comma = present[present.str.contains(",", regex=False)]
    if len(with_comma) and present.str.fullmatch(_WITH_COMMAS).all():
        ways = [Column(name, NUMBER, commas=True)]
        if with_comma.str.fullmatch(_THOUSANDS).all() or not present.str.fullmatch(DECIMAL_COMMA).all():
            ways *= 2
    if len(ways) > 1:
        example = (with_comma if len(with_comma) else present).iloc[0]
        raise UserError(
            f"{what}: values such as {example} of the column {name} can be read in two ways; write numbers as 1234.5 "
            f"and dates as 2024-12-31, or leave the column out with drop={name}"
        )
    return ways[0] if ways else category


def _digits(present: pd.Series[str]) -> int:
    """How long codes are, if some have leading zeros; else 0."""
    codes = present[present.str.fullmatch(r"\d+")]
    return int(codes.str.len().max()) if codes.str.match(r"0\d").any() else 0


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


def _useless(values: pd.Series[Any]) -> str:
    """Why a feature tells a model nothing; empty if it may tell something."""
    distinct = values.nunique()
    if distinct < 2:
        return "constant" if distinct else "empty"
    if is_numeric(values.dtype):
        return ""
    if distinct > MAX_DISTINCT * values.count():
        return "identifier: its text hardly repeats"
    return f"{distinct} different texts" if distinct > MAX_CATEGORIES else ""


def _told(columns: list[Column], features: Mapping[str, pd.Series[Any]]) -> dict[str, tuple[str, str]]:
    """What each column is read as, and details."""
    told, german = {}, any(column.commas for column in columns)
    for column in columns:
        read_as, details, values = "numbers", "", features[column.name]
        if column.kind == DATE:
            read_as, details = "dates", ", ".join(["days since 1970", *column.parts])
        elif column.kind == CATEGORY:
            read_as, details = "categories", f"{values.nunique()}{' codes' if column.digits else ''}"
        elif column.commas:
            read_as = "numbers with decimal commas"
        elif values.dtype != np.uint8 and len(fractions := values[np.mod(values, 1) > 0]):
            if german and fractions.between(1, 1000).all() and (fractions.round(3) == fractions).all():
                details = "the point as decimal point: 1.702 is not 1702"
        elif values.head(MIN_ROWS).is_unique and values.is_unique:  # the first is fast
            details = f"whole and different in each row: drop={column.name} if it only names the row"
        told[column.name] = (read_as, details)
    return told


def _line(treatment: Mapping[str, tuple[str, str]]) -> str:
    parts = []
    for kind in _READ_AS:
        names = {name: details for name, (read_as, details) in treatment.items() if read_as == kind}
        told = listed(f"{name} ({details})" if details else name for name, details in names.items())
        parts += [f"{kind}: {told}"] if names else []
    return "; ".join(parts)


def task_of(target: pd.Series[Any]) -> Task:
    """The task of a target that has no missing values.

    Classification for text, categories and booleans, and for up to 20 different whole numbers with three rows each on
    average; regression for all other numbers.
    """
    if not is_numeric(target.dtype):
        return "classification"
    values = np.unique(target)
    if np.mod(values, 1).any() or len(values) > min(MAX_INTEGER_CLASSES, len(target) / MIN_ROWS_PER_CLASS):
        return "regression"
    return "classification"


def _check_names(names: list[str], what: str) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise UserError(f"{what}: the column name {listed(twice)} occurs more than once; give each column its own name")
    if "" in names:
        raise UserError(f"{what}: column {names.index('') + 1} has no name; give each column a name")


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
        return values
    if distinct > MAX_CATEGORIES:
        raise UserError(
            f"target={target.name}: {distinct} classes found in {what}, and at most {MAX_CATEGORIES} are allowed; "
            "choose a column with fewer, or with numbers for a regression"
        )
    labels: pd.Series[Any] = pd.Series(texts(target).tolist())
    return labels
