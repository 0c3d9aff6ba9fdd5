"""A frame as a file or a server gave it -> the columns of a table, or one sentence that says why it cannot be one."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from entrypoints.datasets.sysmetrics_raw_rows import (
    holds_dates,
    is_numeric,
    numbers,
    own_values,
    present_texts,
    texts,
    with_points,
)
from entrypoints.datasets.tables import Task, categorical
from entrypoints.errors import UserError
from entrypoints.text import Echo, closest, listed

MIN_ROWS = 10
MAX_CATEGORIES = 1000  # of a categorical feature, which is one-hot encoded, and of a target
# A target of whole numbers is a regression's if it has more different ones, or if these hardly repeat.
MAX_INTEGER_CLASSES = 20
MIN_ROWS_PER_CLASS = 3  # on average
_NUMBERS = ("integer", "floating", "mixed-integer-float", "decimal")
_WITH_COMMAS = r"[-+]?\d{1,3}([.,]\d{3})*([.,]\d+)?|[-+]?\d+,\d+"
_NUMBER, _COMMAS, _DATE, _CATEGORY = "numbers", "numbers with decimal commas", "dates (days since 1970)", "categories"


def canonical(frame: pd.DataFrame) -> pd.DataFrame:
    """The same content with dtypes that depend on it alone, whichever format it was stored in.

    A column of numbers becomes uint8 if all are whole numbers from 0 to 255 and none is missing, else float64; one of
    dates the days since 1970; any other (text, truth values, what the format calls a category) a category of text.
    """
    columns = {str(name).strip(): _canonical(frame[name]) for name in frame.columns}
    same: pd.DataFrame = pd.DataFrame(columns, index=pd.RangeIndex(len(frame)))
    return same


def _canonical(column: pd.Series[Any]) -> Any:
    if column.dtype == np.uint8:
        return column.to_numpy()
    if _kind(column) == _CATEGORY:
        return categorical(column)
    values = numbers(column)
    # NaN compares false; the largest byte bounds what the cast may wrap.
    with np.errstate(invalid="ignore"):
        in_range = bool(((values >= 0) & (values <= 255)).all())
        return values.astype(np.uint8) if in_range and not np.mod(values, 1).any() else values


def _kind(column: pd.Series[Any]) -> str:
    """What a column holds, in words."""
    if is_numeric(column.dtype) or column.isna().all():
        return _NUMBER
    if isinstance(column.dtype, pd.CategoricalDtype) or pd.api.types.is_bool_dtype(column.dtype):
        return _CATEGORY
    if pd.api.types.infer_dtype(column, skipna=True) in _NUMBERS:
        return _NUMBER
    present = present_texts(column)
    if holds_dates(present):
        with contextlib.suppress(ValueError):  # a 31st of February
            numbers(column)
            return _DATE
    return _CATEGORY if with_points(present) is present else _COMMAS


class Cleaned(NamedTuple):
    """What a ``Table`` is made of: the frame, the target last, its task, and the file's own values of its labels."""

    frame: pd.DataFrame
    task: Task
    class_values: dict[str, Any]


def clean(
    frame: pd.DataFrame, target: str | None, *, what: str, echo: Echo, task: Task | None = None, keep_all: bool = False
) -> Cleaned:
    """Return what a ``Table`` is made of.

    Rows without a target are left out. So are features without information, unless ``keep_all``: empty or constant
    ones, and texts with more than 1000 categories. ``echo`` gets a line for each of these, and one that says what each
    feature is read as. ``task`` is by default that of ``task_of``. ``what`` names the table in messages, e.g.
    "dataset=mine.csv".

    Raises:
        UserError: the table or its target cannot be used.
    """
    names = [str(name).strip() for name in frame.columns]
    _check_names(names, what)
    target = _check_target(target, names, what)
    frame = frame.set_axis(names, axis="columns")
    given = frame[target]
    missing = pd.isna(_canonical(given))
    if missing.any():
        echo(f"{what}: {missing.sum()} rows without a value of the target {target} are left out")
        frame = frame[~missing]
    kinds = {name: _kind(frame[name]) for name in names}
    _check_commas(frame, kinds, what)
    frame = canonical(frame)
    if len(frame) < MIN_ROWS:
        raise UserError(
            f"{what}: {len(frame)} rows with a value of the target {target} found, and at least {MIN_ROWS} are "
            "needed; use a table with more rows"
        )
    _check_finite(frame, what)
    task = task or task_of(frame[target])
    y = _checked_target(frame[target], task, what)
    features = frame.drop(columns=target)
    if not keep_all:
        features = _informative(features, what, target, echo)
    echo(f"{what}: read as {_told(features, kinds)}")
    if not (features.dtypes == np.uint8).all():
        bytes_ = features.columns[features.dtypes == np.uint8]
        features = features.astype(dict.fromkeys(bytes_, np.float64))
    whole = pd.concat([features, y.rename(target)], axis=1)  # pandas warns of single columns added to thousands
    return Cleaned(whole, task, own_values(given) if task == "classification" else {})


def task_of(target: pd.Series[Any]) -> Task:
    """The task of a target column that is canonical and has no missing values.

    Classification for text, categories and booleans, and for up to 20 different whole numbers with three rows each on
    average; regression for all other numbers.
    """
    if not is_numeric(target.dtype):
        return "classification"
    values = np.unique(numbers(target))
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


def _check_commas(frame: pd.DataFrame, kinds: Mapping[str, str], what: str) -> None:
    """Refuse numbers that could be read in two ways; they would become categories."""
    for name in [name for name, kind in kinds.items() if kind == _CATEGORY]:
        found = present_texts(frame[name])
        with_comma = found[found.str.contains(",", regex=False)]
        if len(with_comma) and found.str.fullmatch(_WITH_COMMAS).all():
            raise UserError(
                f"{what}: numbers with commas, such as {with_comma.iloc[0]}, found in the column {name}; write them "
                "with a point and without separators of thousands, such as 1234.5"
            )


def _told(features: pd.DataFrame, kinds: Mapping[str, str]) -> str:
    """What each feature is read as; of a category also how many values it has."""
    parts = []
    for kind in (_NUMBER, _COMMAS, _DATE, _CATEGORY):
        names = [str(name) for name in features.columns if kinds[str(name)] == kind]
        if kind == _CATEGORY:
            names = [f"{name} ({features[name].nunique()})" for name in names]
        parts += [f"{kind}: {listed(names)}"] if names else []
    return "; ".join(parts)


def _check_finite(frame: pd.DataFrame, what: str) -> None:
    infinite = [
        str(name)
        for name in frame.columns
        if frame[name].dtype == np.float64 and np.isinf(frame[name].to_numpy()).any()
    ]
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
    labels: pd.Series[Any] = pd.Series(texts(target).tolist(), index=target.index)
    return labels


def _informative(features: pd.DataFrame, what: str, target: str, echo: Echo) -> pd.DataFrame:
    idle = {}
    for name in features.columns:
        distinct = features[name].nunique()
        if distinct < 2:
            idle[str(name)] = "constant" if distinct else "empty"
        elif distinct > MAX_CATEGORIES and not is_numeric(features[name].dtype):
            idle[str(name)] = f"{distinct} different texts"
    if idle:
        echo(f"{what}: left out as features: {listed(f'{name} ({why})' for name, why in idle.items())}")
    if len(idle) == features.shape[1]:
        raise UserError(
            f"{what}: no feature is left besides the target {target}, since columns that are empty, constant, or text "
            f"with more than {MAX_CATEGORIES} values are not used; add a feature column"
        )
    informative: pd.DataFrame = features.drop(columns=list(idle))
    return informative
