"""Rows as a user's file holds them -> the numbers and the text that a model is trained on and predicts from.

How a column is read is decided once, on the table of a study, and kept for the rows to predict. Each logged model has a
copy of this file, which is imported there under its own name, without a package: it imports nothing of this project.
"""

from __future__ import annotations

import re
import reprlib
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from numbers import Real
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.utils.metaestimators import available_if

if TYPE_CHECKING:
    from mlflow.exceptions import MlflowException

# Another layout of the classes below needs another name: a process may load models of both.
NAME = "sysmetrics_rows"  # under which a stored model finds this module, wherever it was made
sys.modules.setdefault(NAME, sys.modules[__name__])

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
MAX_ONE_HOT = 30  # values of a category that get a column each; of more values each becomes what the target is there
NEW_ROWS = 0  # the part of rows that no preprocessing is fitted on
_SHOWN = 20  # names in a message
_NUMBER: Any = Real | Decimal
_DECIMAL = re.compile(r"[-+]?(0|[1-9]\d*)\.\d+")
# Days, months and years where points, or slashes, stand between them.
_WITH_POINTS = re.compile(r"(\d\d?)\.(\d\d?)\.(\d{4})")
_WITH_SLASHES = re.compile(r"(\d\d?)/(\d\d?)/(\d{4})")
_ISO = re.compile(r"\d{4}-\d\d?-\d\d?([T ]\d\d?:.*)?")
_EPOCH = pd.Timestamp("1970-01-01", tz="UTC")
_MONTH = 2 * np.pi / 12
_PARTS: dict[str, Callable[[pd.DatetimeIndex], Any]] = {
    "month": lambda times: times.month,
    "year sine": lambda times: np.sin(_MONTH * times.month),  # for linear models: December is beside January
    "year cosine": lambda times: np.cos(_MONTH * times.month),
    "weekday": lambda times: times.day_of_week,  # 0 is Monday
    "hour": lambda times: times.hour,
}


@dataclass(frozen=True)
class Column:
    """A column of the user's file and how it is read, which is one of the classes below."""

    __module__ = NAME
    read_as: ClassVar[str]  # in words

    name: str

    @property
    def names(self) -> list[str]:
        """Of the features that it becomes."""
        return [self.name]

    def features(self, values: pd.Series[Any]) -> dict[str, NDArray[Any]]:
        """The (rows,) features that its values become, by name: float64, or text with NaN for missing.

        Raises ValueError, naming a value that is of another kind.
        """
        raise NotImplementedError

    def fits(self, values: pd.Series[Any]) -> bool:
        """Whether all values can be read in this way."""
        try:
            self.features(values)
        except ValueError:
            return False
        return True

    def settled(self, features: Mapping[str, pd.Series[Any]]) -> Column:
        """The same, with what only the features of a whole table tell."""
        return self

    def describe(self, values: pd.Series[Any], read: pd.Series[Any]) -> str:
        """Details for the user: of its values, and of its first feature."""
        return ""


@dataclass(frozen=True)
class Number(Column):
    """Numbers, as such or as text.

    Attributes:
        decimal: POINT or COMMA of text such as "$1,702.41" or "1.702,41 €"; empty: they are plain.
        grouped: whether these are whole, with a point for thousands: 1702.5 cannot be, and 1.702 may be 1702.
    """

    __module__ = NAME
    read_as = "numbers"

    decimal: str = ""
    grouped: bool = False

    def features(self, values: pd.Series[Any]) -> dict[str, NDArray[Any]]:
        """The numbers."""
        if is_numeric(values.dtype):
            found = numbers(values)
            if self.grouped and not are_whole(found):
                raise ValueError("thousands were read as decimals; read the file with dtype=str, or thousands='.'")
            return {self.name: found}
        known = values.notna().to_numpy(dtype=bool)
        found = np.full(len(values), np.nan)
        found[known] = [_number(value, self.decimal) + 0.0 for value in values[known]]
        return {self.name: found}

    def settled(self, features: Mapping[str, pd.Series[Any]]) -> Column:
        """Whether they are whole shows in all of them."""
        return replace(self, grouped=self.decimal == COMMA and are_whole(features[self.name]))

    def describe(self, values: pd.Series[Any], read: pd.Series[Any]) -> str:
        """The longest text and its number; or that they may only name the row."""
        if self.decimal:
            written_so = values[read.notna()].astype(str)
            longest: Any = written_so.str.len().idxmax()
            return f"{written_so[longest].strip()} is {read[longest]:.15g}"
        if read.is_unique and are_whole(read):
            return f"whole and different in each row: drop={self.name} if it only names the row"
        return ""


@dataclass(frozen=True)
class Date(Column):
    """Dates and times, or text of them: the days since 1970, and parts as numbers.

    Attributes:
        month_first: whether they are written as 12/31/2024; 31.12.2024, 31/12/2024 and 2024-12-31 are not.
        parts: which parts are features of their own.
        has_days: whether the days are one, too.
    """

    __module__ = NAME
    read_as = "dates"

    month_first: bool = False
    parts: tuple[str, ...] = tuple(_PARTS)
    has_days: bool = True

    @property
    def names(self) -> list[str]:
        """Those of the days and of the parts."""
        return [*([self.name] if self.has_days else []), *map(self._name_of, self.parts)]

    def _name_of(self, part: str) -> str:
        return f"{self.name} {part}"

    def features(self, values: pd.Series[Any]) -> dict[str, NDArray[Any]]:
        """A time with a zone is that of UTC."""
        times = _times(values, self.month_first)
        features: dict[str, NDArray[Any]] = {}
        if self.has_days:
            features[self.name] = ((times - _EPOCH) / pd.Timedelta(days=1)).to_numpy(dtype=np.float64)
        for part in self.parts:
            features[self._name_of(part)] = np.asarray(_PARTS[part](times), dtype=np.float64)
        return features

    def settled(self, features: Mapping[str, pd.Series[Any]]) -> Column:
        """A time of day that is always midnight, or a month that is always January, is not a feature."""
        told = tuple(part for part in self.parts if features[self._name_of(part)].nunique() > 1)
        return replace(self, parts=told)

    def describe(self, values: pd.Series[Any], read: pd.Series[Any]) -> str:
        """What they become."""
        return ", ".join([*(["days since 1970"] if self.has_days else []), *self.parts])


@dataclass(frozen=True)
class Category(Column):
    """Text and truth values.

    Attributes:
        digits: of codes with leading zeros, which some readers make numbers of: 1067 is "01067". 0: there are none.
    """

    __module__ = NAME
    read_as = "categories"

    digits: int = 0

    def features(self, values: pd.Series[Any]) -> dict[str, NDArray[Any]]:
        """The text of each."""
        found = texts(values, category_of)
        if self.digits:
            found = np.array([each.zfill(self.digits) if str(each).isdigit() else each for each in found], dtype=object)
        return {self.name: found}

    def describe(self, values: pd.Series[Any], read: pd.Series[Any]) -> str:
        """How many there are, and whether the target stands for each."""
        values_found = read.nunique()
        kind = " codes" if self.digits else ""
        encoded = ", target-encoded" if values_found > MAX_ONE_HOT else ""
        return f"{values_found}{kind}{encoded}"


def is_numeric(dtype: Any) -> bool:
    """Whether values of a column's dtype are numbers; booleans are not."""
    return pd.api.types.is_numeric_dtype(dtype) and not pd.api.types.is_bool_dtype(dtype)


def numbers(column: pd.Series[Any]) -> NDArray[np.float64]:
    """A column of numbers as a new (rows,) array, with the one NaN of numpy for missing, and no negative zero."""
    values: NDArray[np.float64] = column.to_numpy(dtype=np.float64, na_value=np.nan) + 0.0
    values[np.isnan(values)] = np.nan
    return values


def are_whole(values: Any) -> bool:
    """Whether no number has a fraction."""
    with np.errstate(invalid="ignore"):
        return not (np.mod(values, 1) > 0).any()


def text_of(value: Any) -> Any:
    """A value as text, whatever type it comes in: True and "true" are "True", 1.0 is "1"."""
    text = str(_own(value)).strip()
    if text in MISSING:
        return np.nan
    return text.capitalize() if text.casefold() in ("true", "false") else text


def texts(column: pd.Series[Any], of: Callable[[Any], Any] = text_of) -> NDArray[np.object_]:
    """A column as a new (rows,) array of text, with NaN for missing."""
    if column.dtype == object:  # where True is 1 to a hash table
        return column.map(of, na_action="ignore").to_numpy(dtype=object, na_value=np.nan)
    codes, values = pd.factorize(column)
    return np.array([*map(of, values), np.nan], dtype=object)[codes]


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
        scaling: of the numeric columns and of the target.
        numeric: the positions of the numeric columns; None if all are.
        encoded: for each categorical column of few values its position and the codes that get a column of their own,
            which are those of the fitted rows (-1 for missing). Another code becomes zeros.
        has_missing: whether a number can be missing. It becomes the mean, unless ``keeps_missing``.
        target_encoded: for each one of many values its position and, as (parts, codes, outputs), what each code
            becomes: in part 0 for new rows, in others for the fitted rows of that part, whose own targets are not in
            it. The codes -1 and -2 are the last two.
        flagged: the places among the numeric columns of those that get a column of their own, which says whether the
            number was missing.
        keeps_missing: whether a missing number stays missing, for a model that takes it so.
    """

    __module__ = NAME

    scaling: Scaling
    numeric: NDArray[np.int64] | None
    encoded: tuple[tuple[int, NDArray[np.float64]], ...]
    has_missing: bool
    target_encoded: tuple[tuple[int, NDArray[np.float64]], ...] = ()
    flagged: tuple[int, ...] = ()
    keeps_missing: bool = False

    def transform(self, X: NDArray[Any], parts: NDArray[np.uint8] | int = NEW_ROWS) -> NDArray[np.float64]:
        """Return raw rows ``X`` (rows, columns) as (rows, outputs): scaled numbers, then all else.

        Args:
            X: the rows.
            parts: of rows to train on the part that each is in.
        """
        numbers = X if self.numeric is None else X[:, self.numeric]
        out: NDArray[np.float64] = np.subtract(numbers, self.scaling.mean, dtype=np.float64, order="C")
        out /= self.scaling.scale
        flags = np.isnan(out[:, self.flagged])
        if self.has_missing and not self.keeps_missing:
            np.nan_to_num(out, copy=False, nan=0.0)  # the mean, once scaled
        if not self.encoded and not self.target_encoded and not self.flagged:
            return out
        one_hot = [codes_of(X[:, i])[:, None] == codes for i, codes in self.encoded]
        by_target = [values[parts, codes_of(X[:, i]).astype(np.intp)] for i, values in self.target_encoded]
        return np.hstack([out, flags, *one_hot, *by_target])


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
        features = self.features(X)
        predicted: NDArray[Any] = np.ravel(self.estimator.predict(features)) if len(features) else np.zeros(0)
        if self.classes:
            return self._own(predicted)
        scaling = self.preprocessing.scaling
        return predicted * scaling.y_scale + scaling.y_mean

    @available_if(lambda self: hasattr(self.estimator, "predict_proba"))  # type: ignore[untyped-decorator]
    def predict_proba(self, X: pd.DataFrame) -> NDArray[np.float64]:
        """The probabilities (rows, classes), in the order of ``classes_``."""
        features = self.features(X)
        if not len(features):  # scikit-learn refuses no rows
            return np.zeros((0, len(self.classes)))
        shares: NDArray[np.float64] = self.estimator.predict_proba(features)
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
    """The number that a text is, and its currency or percent sign if it has one; None if it is not a number.

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


def _times(values: pd.Series[Any], month_first: bool) -> pd.DatetimeIndex:
    """Dates and times, or text of them, in UTC, with NaT for missing."""
    found = texts(values)
    known = np.array([str(text).casefold() not in NO_VALUE for text in found], dtype=bool)
    iso = [_iso_date(text, month_first) if is_known else None for text, is_known in zip(found, known, strict=True)]
    times: pd.DatetimeIndex = pd.to_datetime(pd.Index(iso, dtype=object), format="ISO8601", utc=True, errors="coerce")
    wrong = known & times.isna()
    if wrong.any():
        raise ValueError(f"{reprlib.repr(found[wrong][0])} is not a date; give dates as in the file, or nothing")
    return times


def _iso_date(text: str, month_first: bool) -> str:
    """A date with the year first; empty if the text is none."""
    text = _WITH_POINTS.sub(r"\3-\2-\1", text, count=1)
    text = _WITH_SLASHES.sub(r"\3-\1-\2" if month_first else r"\3-\2-\1", text, count=1)
    return text if _ISO.fullmatch(text) else ""


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
