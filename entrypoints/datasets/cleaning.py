"""A frame as a file or a server gave it -> a checked table, or one sentence that says why it cannot be one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from entrypoints.datasets.sysmetrics_raw_rows import (
    DATES,
    DECIMAL_COMMAS,
    dates_or_commas,
    is_numeric,
    numbers,
    own_values,
    present_texts,
    texts,
)
from entrypoints.datasets.tables import Table, Task
from entrypoints.errors import UserError
from entrypoints.text import Echo, closest, listed

MIN_ROWS = 10
MAX_CATEGORIES = 1000  # of a categorical feature, which is one-hot encoded, and of a target
# A target of whole numbers is a regression's if it has more different ones, or if these hardly repeat.
MAX_INTEGER_CLASSES = 20
MIN_ROWS_PER_CLASS = 3  # on average
_INFERRED_NUMBERS = ("integer", "floating", "mixed-integer-float", "decimal")
_NUMBERS, _CATEGORIES = "numbers", "categories"


def clean(
    frame: pd.DataFrame,
    target: str | None,
    *,
    what: str,
    echo: Echo,
    task: Task | None = None,
    keep_all: bool = False,
    group: str | None = None,
    time: str | None = None,
) -> Table:
    """Return the table that a frame holds.

    Rows without a target are left out. So are features without information, unless ``keep_all``: empty or constant
    ones, and texts with more than 1000 categories. ``echo`` gets a line for each of these, and one that says what each
    feature is read as. ``what`` names the table in messages, e.g. "dataset=mine.csv".

    Args:
        frame: its ``attrs`` are the table's name, source and licence, and its OpenML id and usual target, if any.
        target: the column to predict; by default the usual one.
        task: by default that of ``task_of``.
        keep_all: see above.
        group: the column whose equal values are one group of rows; it is no feature.
        time: the column of numbers or dates that orders the rows.

    Raises:
        UserError: the table, its target or one of these columns cannot be used.
    """
    names, about = [str(name).strip() for name in frame.columns], frame.attrs
    _check_names(names, what)
    target = _check_target(target or about.get("target"), names, what)
    frame = frame.set_axis(names, axis="columns")
    y = pd.Series(_read(frame[target], what)[1], name=target)
    missing = y.isna().to_numpy()
    if missing.any():
        echo(f"{what}: {missing.sum()} rows without a value of the target {target} are left out")
        frame, y = frame[~missing], y[~missing]
    if len(frame) < MIN_ROWS:
        raise UserError(
            f"{what}: {len(frame)} rows with a value of the target {target} found, and at least {MIN_ROWS} are "
            "needed; use a table with more rows"
        )
    groups = None if group is None else pd.factorize(_complete(frame, "group", group, target, what))[0]
    times = None if time is None else _times(_complete(frame, "time", time, target, what), what)
    read = {name: _read(frame[name], what) for name in names if name not in (target, group)}
    columns = {name: values for name, (_, values) in read.items()}
    _check_finite(columns | {target: y.to_numpy()}, what)
    task = task or task_of(y)
    y = _checked_target(y, task, what)
    if not keep_all:
        columns = _informative(columns, what, target, echo)
    echo(f"{what}: read as {_told(columns, {name: kind for name, (kind, _) in read.items()})}")
    if not all(values.dtype == np.uint8 for values in columns.values()):
        columns = {name: each.astype(float) if each.dtype == np.uint8 else each for name, each in columns.items()}
    whole = pd.DataFrame(columns | {target: y.array})
    whole.attrs = about
    return Table(
        name=about["name"],
        frame=whole,
        target=target,
        task=task,
        source=about["source"],
        openml_id=about.get("openml_id"),
        licence=about["licence"],
        class_values=own_values(frame[target]) if task == "classification" else {},
        groups=groups,
        times=times,
    )


def _complete(frame: pd.DataFrame, option: str, name: str, target: str, what: str) -> pd.Series[Any]:
    """A column without missing values, by which rows are split."""
    names = [str(each) for each in frame.columns if each != target]
    if name not in names:
        advice = closest(name, names, "use one of these names")
        raise UserError(f"{option}={name}: one of the features of {what} is allowed: {listed(names)}; {advice}")
    column: pd.Series[Any] = frame[name]
    if column.isna().any():
        raise UserError(
            f"{option}={name}: {column.isna().sum()} rows of {what} have no value there, and each needs one; fill them "
            "in, or leave these rows out"
        )
    return column


def _times(column: pd.Series[Any], what: str) -> NDArray[np.float64]:
    kind, values = _read(column, what)
    if kind == _CATEGORIES:
        raise UserError(
            f"time={column.name}: numbers or dates such as 2026-03-01 are allowed, and {what} has {column.iloc[0]}; "
            "write dates so, or choose another column"
        )
    return np.asarray(values, dtype=np.float64)


def _read(column: pd.Series[Any], what: str) -> tuple[str, Any]:
    """What a column holds, in words, and its values, which depend on its content alone, however it was stored.

    Numbers are uint8 if all are whole numbers from 0 to 255 and none is missing, else float64; dates are numbers, too.
    Anything else (text, truth values, what the format calls a category) is a category of text.
    """
    if column.dtype == np.uint8:
        return _NUMBERS, column.to_numpy()
    if is_numeric(column.dtype) or column.isna().all():
        return _NUMBERS, _small(numbers(column))
    is_category = isinstance(column.dtype, pd.CategoricalDtype)
    if not is_category and pd.api.types.infer_dtype(column, skipna=True) in _INFERRED_NUMBERS:
        return _NUMBERS, _small(numbers(column))
    present = present_texts(column)
    try:
        found = dates_or_commas(present)
        if is_category and found and found[0] == DECIMAL_COMMAS:
            raise ValueError
    except ValueError:
        example = present[present.str.contains(",", regex=False)].iloc[0]
        raise UserError(
            f"{what}: numbers with commas, such as {example}, found in the column {column.name}; write them "
            "with a point and without separators of thousands, such as 1234.5"
        ) from None
    if found and not is_category:
        return found[0], _small(numbers(column))
    return _CATEGORIES, _categorical(column)


def _small(values: NDArray[np.float64]) -> NDArray[Any]:
    # NaN compares false; the largest byte bounds what the cast may wrap.
    with np.errstate(invalid="ignore"):
        in_range = bool(((values >= 0) & (values <= 255)).all())
        return values.astype(np.uint8) if in_range and not np.mod(values, 1).any() else values


def _categorical(column: pd.Series[Any]) -> pd.Categorical:
    """A column as sorted text categories that all occur, missing values apart."""
    found = texts(column)
    return pd.Categorical(found, categories=pd.Index(sorted({*found[~pd.isna(found)]}), dtype=str))


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


def _check_target(target: str | None, names: list[str], what: str) -> str:
    if not target:
        raise UserError(f"{what}: the target is not given; name with target= one of the columns {listed(names)}")
    if target not in names:
        advice = closest(target, names, "use one of these names")
        raise UserError(f"target={target}: one of the columns of {what} is allowed: {listed(names)}; {advice}")
    return target


def _told(columns: Mapping[str, Any], kinds: Mapping[str, str]) -> str:
    """What each feature is read as; of a category also how many values it has."""
    parts = []
    for kind in (_NUMBERS, DECIMAL_COMMAS, DATES, _CATEGORIES):
        names = [name for name in columns if kinds[name] == kind]
        if kind == _CATEGORIES:
            names = [f"{name} ({len(columns[name].categories)})" for name in names]
        parts += [f"{kind}: {listed(names)}"] if names else []
    return "; ".join(parts)


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


def _informative(columns: dict[str, Any], what: str, target: str, echo: Echo) -> dict[str, Any]:
    idle = {}
    for name, values in columns.items():
        distinct = pd.Series(values).nunique()
        if distinct < 2:
            idle[name] = "constant" if distinct else "empty"
        elif distinct > MAX_CATEGORIES and not is_numeric(values.dtype):
            idle[name] = f"{distinct} different texts"
    if idle:
        echo(f"{what}: left out as features: {listed(f'{name} ({why})' for name, why in idle.items())}")
    if len(idle) == len(columns):
        raise UserError(
            f"{what}: no feature is left besides the target {target}, since columns that are empty, constant, or text "
            f"with more than {MAX_CATEGORIES} values are not used; add a feature column"
        )
    return {name: values for name, values in columns.items() if name not in idle}
