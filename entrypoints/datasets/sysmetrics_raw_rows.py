"""Rows as a user's file holds them -> the numbers and the text that a model is trained on and predicts from.

How a column is read is decided once, on the table of a study, and kept for the rows to predict. Each logged model has a
copy of this file, which is imported there under its own name, without a package: it imports nothing of this project.
"""

from __future__ import annotations

import re
import reprlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.utils.metaestimators import available_if

if TYPE_CHECKING:
    from mlflow.exceptions import MlflowException

NAME = "sysmetrics_raw_rows"  # under which a stored model finds this module, wherever it was made
sys.modules.setdefault(NAME, sys.modules[__name__])

NUMBER, DATE, CATEGORY = "number", "date", "category"
PARTS = ("month", "weekday", "hour")  # of a date
PREDICT_METHOD = "predict_method"  # the param by which a prediction asks for one of these
PREDICT, PREDICT_PROBA = "predict", "predict_proba"
POINT, COMMA = ".", ","  # of decimals: the other one is of thousands
MISSING = ("", "?")  # beside what pandas takes for missing
# Among numbers and dates alone: as a category it may mean something.
NO_VALUE = (*MISSING, "-", "--", "n/a", "n.a.", "na", "nan", "null", "k.a.", "unknown", "unbekannt")
_MAX_WRITTEN = 60  # characters of a number
_WRITTEN = re.compile(r"(\D*?)([.,]?\d(?:.*\d)?)(\D*)")  # what is before the digits, they, and what is behind
_ALIKE = str.maketrans("\u2212\u2013\u2019\u00a0\u2009\u202f", "--'   ")  # minus, dash, apostrophe, blanks
_SIGNS = {"": 1.0, "+": 1.0, "-": -1.0, "()": -1.0}
_CODES = (
    "AED|ARS|AUD|BGN|BRL|CAD|CHF|CLP|CNY|COP|CZK|DKK|EUR|GBP|HKD|HUF|IDR|ILS|INR|JPY|KRW|MXN|MYR|NOK|NZD|PHP|PLN|RON|"
    "RUB|SAR|SEK|SGD|THB|TRY|TWD|UAH|USD|ZAR"
)
_UNIT = re.compile(rf"%|((A|CA|HK|NZ|R|US)?[$£¥\u20a0-\u20cf]|kr\.?|zł|Kč|Fr\.?|{_CODES})*", re.IGNORECASE)
_GROUPED = r"([1-9]\d{{0,2}}([{thousands}' ])\d{{3}}(\2\d{{3}})*|\d*)([{decimal}]\d+)?([eE][-+]?\d+)?"
_DIGITS = {
    POINT: re.compile(_GROUPED.format(thousands=COMMA, decimal=POINT)),
    COMMA: re.compile(_GROUPED.format(thousands=POINT, decimal=COMMA)),
}
_PLAIN = {POINT: str.maketrans("", "", ",' "), COMMA: str.maketrans(",", ".", ".' ")}
NO_CODE, NEW_CODE = -1.0, -2.0  # of a category that is missing, and of one that was not trained on
_SHOWN = 20  # names in a message
_NUMBER: Any = Real | Decimal
_DECIMAL = re.compile(r"[-+]?(0|[1-9]\d*)\.\d+")
# Days, months and years where points, or slashes, stand between them.
_WITH_POINTS = re.compile(r"(\d\d?)\.(\d\d?)\.(\d{4})")
_WITH_SLASHES = re.compile(r"(\d\d?)/(\d\d?)/(\d{4})")
_ISO = re.compile(r"\d{4}-\d\d?-\d\d?([T ]\d\d?:.*)?")
_EPOCH = pd.Timestamp("1970-01-01", tz="UTC")
_MONTHS = np.array(["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"], dtype=object)
_WEEKDAYS = np.array(["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"], dtype=object)


@dataclass(frozen=True)
class Column:
    """How a column of the user's file is read.

    Attributes:
        name: in the file.
        kind: NUMBER, DATE or CATEGORY.
        decimal: POINT or COMMA of numbers that are text, such as "$1,702.41" or "1.702,41 €"; empty: they are plain.
        grouped: whether these are whole, with a point for thousands: 1702.5 cannot be, and 1.702 may be 1702.
        month_first: whether dates are written as 12/31/2024; 31.12.2024, 31/12/2024 and 2024-12-31 are not.
        digits: of codes with leading zeros, which some readers make numbers of: 1067 is "01067". 0: there are none.
        parts: which parts of a date are features of their own.
    """

    __module__ = NAME

    name: str
    kind: str
    decimal: str = ""
    grouped: bool = False
    month_first: bool = False
    digits: int = 0
    parts: tuple[str, ...] = ()

    @property
    def names(self) -> list[str]:
        """Of the features that it becomes."""
        return [self.name, *(f"{self.name} {part}" for part in self.parts)]

    def features(self, column: pd.Series[Any]) -> dict[str, NDArray[Any]]:
        """The (rows,) features that a column becomes, by name: float64, or text with NaN for missing.

        A date becomes the days since 1970 and its parts. Raises ValueError, naming a value that is of another kind.
        """
        if self.kind == CATEGORY:
            return {self.name: texts(column, self.digits, category_of)}
        if self.kind == NUMBER:
            return {self.name: self._numbers(column)}
        days = _days(column, self.month_first)
        parts = _parts(days) if self.parts else {}
        return {self.name: days} | {f"{self.name} {part}": parts[part] for part in self.parts}

    def _numbers(self, column: pd.Series[Any]) -> NDArray[np.float64]:
        if not is_numeric(column.dtype):
            known = column.notna().to_numpy(dtype=bool)
            values = np.full(len(column), np.nan)
            values[known] = [_number(value, self.decimal) + 0.0 for value in column[known]]
            return values
        values = numbers(column)
        if self.grouped and (values % 1 > 0).any():
            raise ValueError("thousands were read as decimals; read the file with dtype=str, or thousands='.'")
        return values


def is_numeric(dtype: Any) -> bool:
    """Whether values of a column's dtype are numbers; booleans are not."""
    return pd.api.types.is_numeric_dtype(dtype) and not pd.api.types.is_bool_dtype(dtype)


def numbers(column: pd.Series[Any]) -> NDArray[np.float64]:
    """A column of numbers as a new (rows,) array, with the one NaN of numpy for missing, and no negative zero."""
    values: NDArray[np.float64] = column.to_numpy(dtype=np.float64, na_value=np.nan) + 0.0
    values[np.isnan(values)] = np.nan
    return values


def text_of(value: Any) -> Any:
    """A value as text, whatever type it comes in: True and "true" are "True", 1.0 is "1"."""
    text = str(_own(value)).strip()
    if text in MISSING:
        return np.nan
    return text.capitalize() if text.casefold() in ("true", "false") else text


def texts(column: pd.Series[Any], digits: int = 0, of: Callable[[Any], Any] = text_of) -> NDArray[np.object_]:
    """A column as a new (rows,) array of text, with NaN for missing."""
    if column.dtype == object:  # where True is 1 to a hash table
        found = column.map(of, na_action="ignore").to_numpy(dtype=object, na_value=np.nan)
    else:
        codes, values = pd.factorize(column)
        found = np.array([*map(of, values), np.nan], dtype=object)[codes]
    if digits:
        found = np.array([each.zfill(digits) if str(each).isdigit() else each for each in found], dtype=object)
    return found


def category_of(value: Any) -> Any:
    """A value as the text of its category: "1.0" is "1", too, since in rows without other text it is a number."""
    text = text_of(value)
    return str(_own(float(text))) if _DECIMAL.fullmatch(str(text)) else text


def own_values(column: pd.Series[Any]) -> dict[str, bool | int | float | str]:
    """Each text of a column, and the value that stands for it there: a truth value, a number, or text as spelt."""
    found: dict[str, bool | int | float | str] = {}
    present = column.dropna()
    for value in present if present.dtype == object else present.unique():
        found.setdefault(str(category_of(value)), _own(value))
    return found


@dataclass(frozen=True, eq=False)
class Scaling:
    """Means and standard deviations: ``mean`` and ``scale`` of the numeric columns (columns,), and the target's.

    A constant column has scale 1. Class labels stay as they are: ``y_mean`` 0 and ``y_scale`` 1.
    """

    __module__ = NAME

    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    y_mean: float = 0.0
    y_scale: float = 1.0

    def transform_target(self, y: NDArray[Any]) -> NDArray[np.float64]:
        """Return the target ``y`` (rows,) normalised."""
        z: NDArray[np.float64] = (np.asarray(y, dtype=np.float64) - self.y_mean) / self.y_scale
        return z


@dataclass(frozen=True, eq=False)
class Preprocessing:
    """The preprocessing that is fitted on one set of rows.

    Attributes:
        scaling: of the numeric columns and of the target; a missing number becomes the mean.
        numeric: the positions of the numeric columns; None if all are.
        encoded: for each categorical column its position and the codes that get a column of their own, which are those
            of the fitted rows (-1 for missing). Another code becomes zeros.
        has_missing: whether a number can be missing.
    """

    __module__ = NAME

    scaling: Scaling
    numeric: NDArray[np.int64] | None
    encoded: tuple[tuple[int, NDArray[np.float64]], ...]
    has_missing: bool

    def transform(self, X: NDArray[Any]) -> NDArray[np.float64]:
        """Return raw rows ``X`` (rows, columns) as (rows, outputs): scaled numbers, then a column per category."""
        numbers = X if self.numeric is None else X[:, self.numeric]
        out: NDArray[np.float64] = np.subtract(numbers, self.scaling.mean, dtype=np.float64, order="C")
        out /= self.scaling.scale
        if self.has_missing:
            np.nan_to_num(out, copy=False, nan=0.0)  # the mean, once scaled
        if not self.encoded:
            return out
        return np.hstack([out, *(codes_of(X[:, i])[:, None] == codes for i, codes in self.encoded)])


def codes_of(column: NDArray[np.float64]) -> NDArray[np.float64]:
    """Categories by their codes (rows,), with one of its own for missing."""
    codes: NDArray[np.float64] = np.nan_to_num(column, nan=NO_CODE)
    return codes


class RawRows:
    """A trained model that takes rows as pandas reads them from the user's file, whatever dtypes they get there.

    Args:
        estimator: takes rows that are preprocessed, and gives the standardised target, or the position of a class.
        preprocessing: of the features that the columns become.
        columns: how each is read that it needs; the rows may have more.
        categories: the code of each category that was trained on, of each feature of text.
        classes: the target's own value for each class that the estimator predicts; empty for regression.
    """

    __module__ = NAME

    def __init__(
        self,
        estimator: Any,
        preprocessing: Preprocessing,
        columns: list[Column],
        categories: dict[str, dict[str, float]],
        classes: dict[int, bool | int | float | str],
    ) -> None:
        self.estimator = estimator
        self.preprocessing = preprocessing
        self.columns = columns
        self.categories = categories
        self.classes = classes

    def predict(self, X: pd.DataFrame) -> NDArray[Any]:
        """The target in its own units, or the class as the user's file spells it, of each row."""
        predicted: NDArray[Any] = self.estimator.predict(self.features(X))
        if self.classes:
            return self._own(predicted)
        scaling = self.preprocessing.scaling
        return predicted * scaling.y_scale + scaling.y_mean

    @available_if(lambda self: hasattr(self.estimator, "predict_proba"))  # type: ignore[untyped-decorator]
    def predict_proba(self, X: pd.DataFrame) -> NDArray[np.float64]:
        """The probabilities (rows, classes), in the order of ``classes_``."""
        shares: NDArray[np.float64] = self.estimator.predict_proba(self.features(X))
        return shares

    def score(self, X: pd.DataFrame, params: dict[str, Any] | None = None) -> NDArray[Any] | pd.DataFrame:
        """What ``mlflow.pyfunc`` and MLflow's server answer; to no other method does MLflow pass ``params``.

        That of ``predict``, or with the param ``predict_method="predict_proba"`` a frame of probabilities with a column
        of each class, named as in the user's file. MlflowException, in one sentence, if there are none.
        """
        method = (params or {}).get(PREDICT_METHOD, PREDICT)
        if method == PREDICT:
            return self.predict(X)
        if method != PREDICT_PROBA:
            raise _refused(f"{PREDICT_METHOD}={method}: unknown; use {PREDICT} or {PREDICT_PROBA}")
        if not hasattr(self, PREDICT_PROBA):
            raise _refused(
                f"{PREDICT_METHOD}={method}: the algorithm of this model gives no probabilities; use {PREDICT}, or "
                "tune another algorithm, such as logistic"
            )
        probabilities: pd.DataFrame = pd.DataFrame(self.predict_proba(X), index=X.index, columns=list(self.classes_))
        return probabilities

    @property
    def classes_(self) -> NDArray[Any]:
        """The classes in the target's own type."""
        return self._own(self.estimator.classes_)

    def features(self, rows: pd.DataFrame) -> NDArray[np.float64]:
        """The user's rows as input of the estimator. MlflowException, in one sentence, if they do not fit."""
        absent = [column.name for column in self.columns if column.name not in rows.columns]
        if absent:
            raise _refused(f"the rows lack {_listed(absent)}; give each column that the model was trained on")
        features: dict[str, NDArray[Any]] = {}
        for column in self.columns:
            try:
                features |= column.features(rows[column.name])
            except ValueError as error:
                raise _refused(f"column {column.name!r}: {error}") from None
        for name, codes in self.categories.items():
            values = features[name]
            features[name] = np.array([np.nan if each != each else codes.get(each, NEW_CODE) for each in values])
        X = np.column_stack(list(features.values()))
        infinite = [name for name, is_infinite in zip(features, np.isinf(X).any(axis=0), strict=True) if is_infinite]
        if infinite:
            raise _refused(f"infinite values in {_listed(infinite)}; leave these cells empty, or give other numbers")
        return self.preprocessing.transform(X)

    def _own(self, predicted: NDArray[Any]) -> NDArray[Any]:
        mixed = len({type(value) for value in self.classes.values()}) > 1
        return np.array([self.classes[each] for each in predicted], dtype=object if mixed else None)


def written(text: str, decimal: str) -> tuple[float, str] | None:
    """The number that a text is, and its currency or percent sign if it has one; None if it is no number.

    Signs stand before or behind, or are brackets: (5) is -5. "12.5 %" is 0.125.
    """
    parts = _WRITTEN.fullmatch(text.translate(_ALIKE)) if len(text) <= _MAX_WRITTEN else None
    if parts is None or not _DIGITS[decimal].fullmatch(parts[2]):
        return None
    around = parts[1] + parts[3]
    sign = re.sub(r"[^-+()]", "", around)
    unit = re.sub(r"[-+() ]", "", around).upper()
    if sign not in _SIGNS or not _UNIT.fullmatch(unit):
        return None
    shift = "e-2" if unit == "%" else ""  # exact, where a division would round
    return _SIGNS[sign] * float(parts[2].translate(_PLAIN[decimal]) + shift), unit


def _number(value: Any, decimal: str) -> float:
    if isinstance(value, str) and value.strip().casefold() in NO_VALUE:
        return np.nan
    try:
        if not decimal or not isinstance(value, str):
            return float(value)
        if found := written(value.strip(), decimal):
            return found[0]
    except (TypeError, ValueError):
        pass
    raise ValueError(f"{reprlib.repr(value)} is not a number; give numbers, such as 0.5, or nothing")


def _days(column: pd.Series[Any], month_first: bool) -> NDArray[np.float64]:
    """Dates and times, or text of them, as (rows,) days since 1970; a time with a zone is that of UTC."""
    found = texts(column)
    known = np.array([str(text).casefold() not in NO_VALUE for text in found], dtype=bool)
    iso = [_iso_date(text, month_first) for text in found[known]]
    times = pd.to_datetime(iso, format="ISO8601", utc=True, errors="coerce")
    if times.isna().any():
        raise ValueError(
            f"{reprlib.repr(found[known][times.isna()][0])} is not a date; give dates as in the file, or nothing"
        )
    values = np.full(len(column), np.nan)
    values[known] = (times - _EPOCH) / pd.Timedelta(days=1)
    return values


def _iso_date(text: str, month_first: bool) -> str:
    """A date with the year first; empty if the text is none."""
    text = _WITH_POINTS.sub(r"\3-\2-\1", text, count=1)
    text = _WITH_SLASHES.sub(r"\3-\1-\2" if month_first else r"\3-\2-\1", text, count=1)
    return text if _ISO.fullmatch(text) else ""


def _parts(days: NDArray[np.float64]) -> dict[str, NDArray[np.object_]]:
    """The parts of dates as text, with NaN for missing."""
    known = ~np.isnan(days)
    seconds = np.round(days[known] * 86_400).astype(np.int64)
    whole = seconds // 86_400
    months = whole.astype("datetime64[D]").astype("datetime64[M]").astype(np.int64)
    parts = {name: np.full(len(days), np.nan, dtype=object) for name in PARTS}
    parts["month"][known] = _MONTHS[months % 12]
    parts["weekday"][known] = _WEEKDAYS[(whole + 3) % 7]  # 1970 began on a Thursday
    parts["hour"][known] = (seconds // 3_600 % 24).astype(str)
    return parts


def _own(value: Any) -> bool | int | float | str:
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, _NUMBER):
        return int(value) if float(value).is_integer() else float(value)
    return str(value)


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"the column{'s' * (len(names) > 1)} {', '.join(map(repr, names[:_SHOWN]))}{more}"


def _refused(sentence: str) -> MlflowException:
    """An error that a served model also returns to its client."""
    from mlflow.exceptions import MlflowException  # not above: the processes of trials have no other use for mlflow

    error: MlflowException = MlflowException.invalid_parameter_value(sentence)
    return error
