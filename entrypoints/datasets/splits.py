"""The 70/30 split of a table, and the folds of its training part."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import (
    GroupKFold,
    GroupShuffleSplit,
    KFold,
    StratifiedGroupKFold,
    StratifiedKFold,
    TimeSeriesSplit,
    train_test_split,
)

from entrypoints.datasets.random_rows import evenly
from entrypoints.datasets.tables import Table
from entrypoints.errors import UserError

TEST_FRACTION = 0.3
KEPT_OF_A_CLASS = 50  # rows, where most are left out: each fold needs some

Rows = NDArray[np.integer[Any]]
_NEVER = -1


@dataclass(frozen=True, eq=False)
class Folds:
    """A sequence of (fit, validation) rows, in the order of the training part, made at each access.

    So ten folds of a large table take a byte or two a row, not the 56 of their row numbers.

    Attributes:
        train: row numbers of the training part.
        validated_in: of each of these the number of the fold that it validates, or -1.
        number: of folds.
        in_time: whether a fold is fitted on the rows before those that it validates, not on all others.
    """

    train: Rows
    validated_in: NDArray[np.integer[Any]]
    number: int
    in_time: bool = False

    def __len__(self) -> int:
        return self.number

    def __getitem__(self, fold: int) -> tuple[Rows, Rows]:
        fold = range(self.number)[fold]
        fit = self.validated_in < fold if self.in_time else self.validated_in != fold
        return self.train[fit], self.train[self.validated_in == fold]

    def __iter__(self) -> Iterator[tuple[Rows, Rows]]:
        return map(self.__getitem__, range(self.number))

    @cached_property
    def fit_sizes(self) -> list[int]:
        """How many rows each fold is trained on."""
        return [len(fit) for fit, _ in self]


@dataclass(frozen=True, eq=False)
class Split:
    """Row numbers of the table: the training and the test part, and (fit, validation) rows for every fold.

    The folds divide the training part, or by time its second half. All rows are in the order of the training part,
    which is shuffled, or that of time. ``groups`` is the group of each row of the table; None: each stands alone.
    ``few_test`` are the rows of the test part that each trial is scored on, where the folds have few rows.
    """

    train: Rows
    test: Rows
    folds: Folds
    groups: Rows | None = None
    few_test: Rows | None = None

    @property
    def test_of_trials(self) -> Rows:
        """The rows of the test part that the model of each fold is scored on."""
        return self.test if self.few_test is None else self.few_test

    @property
    def fit_rows(self) -> int:
        """How many rows the largest fold is trained on."""
        return max(self.folds.fit_sizes)

    @property
    def max_batch_size(self) -> int:
        """How many rows a batch can have at most: as many as the smallest fold is trained on."""
        return min(self.folds.fit_sizes)

    def thinned(self, most: int, table: Table) -> Split:
        """The same with at most ``most`` rows for the trials; the training and the test part stay whole."""
        y, folds, in_classes = table.y, self.folds, bool(table.classes)
        places = np.arange(len(self.train))
        kept = thinned(places, y[self.train], most, in_classes=in_classes, folds=folds.validated_in)
        fewer = replace(folds, train=folds.train[kept], validated_in=folds.validated_in[kept])
        return replace(self, folds=fewer, few_test=thinned(self.test, y, most, in_classes=in_classes))

    def to_json(self) -> dict[str, list[Any]]:
        """Return plain lists under sorted keys; of a fold only its validation rows.

        It is fitted on the rest of the training part, or with time on the rows of it that come before.
        """
        return {
            "folds": [validation.tolist() for _, validation in self.folds],
            "test": self.test.tolist(),
            "train": self.train.tolist(),
        }


def make_split(table: Table, *, folds: int, seed: int, duplicates: str | None = None) -> Split:
    """Split the rows of a table in two, then the training part into folds; the same seed gives the same split.

    Every part holds the classes in the table's proportions. If the table has groups, no two parts hold rows of one. If
    it has times, each part is later than what is trained on for it: the test part is the end, and the folds' validation
    rows divide the second half of the rest, each after all rows that its model is fitted on. Rows of the same time stay
    together. With ``duplicates`` each part and each fold holds all copies of its rows, target included.

    Raises:
        UserError: the arguments or the classes of the table do not allow it.
    """
    if not 0 <= seed < 2**32:
        raise UserError(f"seed={seed}: a whole number from 0 to {2**32 - 1} is allowed; choose one of these")
    if table.groups is not None and table.times is not None:
        raise UserError("group and time: rows are split by one of them; leave one out")
    if duplicates is not None:
        return _with_copies_together(table, duplicates, folds, seed)
    y, stratify = table.y, table.task == "classification"
    test_rows = math.ceil(len(y) * TEST_FRACTION)
    _check_folds(folds, training_rows=len(y) - test_rows)
    if stratify:
        _check_classes(y, "table", folds)
        if test_rows < len(table.classes):
            raise UserError(
                f"the target has {len(table.classes)} classes, and the test part of the table would have {test_rows} "
                "rows, where at least one for each class is needed; use more rows, or merge or drop classes"
            )
    if table.groups is not None:
        groups = len(np.unique(table.groups))
        _check_distinct("groups", groups, groups - math.ceil(groups * TEST_FRACTION), folds, needed=folds)
    train, test = _parts(table, test_rows, seed)
    if table.times is not None:
        times, of_training = (len(np.unique(each)) for each in (table.times, table.times[train]))
        _check_distinct("times", times, of_training, folds, needed=folds + 1)
    if stratify:
        _check_classes(y[train], "training part", folds)
    if table.times is not None:
        validations = _validations_in_time(table.times[train], folds)
    else:
        by = None if table.groups is None else table.groups[train]
        validations = (validation for _, validation in _splitter(table, folds, seed).split(train, y[train], by))
    validated_in = np.full(len(train), _NEVER, dtype=np.min_scalar_type(-folds))
    for number, validation in enumerate(validations):
        validated_in[validation] = number
    rows = Folds(train, validated_in, folds, in_time=table.times is not None)
    for number, (fit, _) in enumerate(rows if stratify else ()):
        if lacking := np.setdiff1d(table.classes, y[fit]).tolist():
            raise UserError(
                f"folds={folds}: fold {number} would be trained on no row of class {lacking[0]}, and each class needs "
                "one in every fold; lower folds, or merge or drop the class"
            )
    return Split(train, test, rows, table.groups)


def thinned(rows: Rows, y: NDArray[Any], most: int, *, in_classes: bool, folds: Rows | None = None) -> Rows:
    """At most ``most`` of these rows, in their order, evenly spread over the values of the target ``y`` of all rows.

    So each class keeps its share; in each fold, too, if ``folds`` are those of the rows. With ``in_classes`` each class
    that they have keeps 50 rows, or all, so there may be a few more.
    """
    if len(rows) <= most:
        return rows
    targets = y[rows]
    by_target = np.argsort(targets, kind="stable") if folds is None else np.lexsort((folds, targets))
    kept = np.zeros(len(rows), dtype=bool)
    kept[evenly(by_target, most)] = True
    for label in np.unique(targets) if in_classes else ():
        of_class = targets == label
        lacking = max(0, KEPT_OF_A_CLASS - int(kept[of_class].sum()))
        kept[np.flatnonzero(of_class & ~kept)[:lacking]] = True
    return rows[kept]


def _with_copies_together(table: Table, duplicates: str, folds: int, seed: int) -> Split:
    """The split of the different rows of a table, to which the copies of each row are added."""
    for by, values in (("group", table.groups), ("time", table.times)):
        if values is not None:
            raise UserError(f"duplicates={duplicates} and {by}: rows are split by their {by} alone; leave one out")
    contents = table.contents
    _, first = np.unique(contents, return_index=True)
    different = make_split(replace(table, frame=table.frame[[table.target]].iloc[first]), folds=folds, seed=seed)
    train = _with_content(different.train, contents)
    test = _with_content(different.test, contents)
    validated_in = np.full(len(first), _NEVER, dtype=different.folds.validated_in.dtype)
    validated_in[different.train] = different.folds.validated_in
    rows = replace(different.folds, train=train, validated_in=validated_in[contents[train]])
    return Split(train, test, rows, contents)


def _with_content(wanted: Rows, contents: NDArray[np.int64]) -> Rows:
    """The rows that have one of the wanted contents, in the order of these."""
    place = np.full(int(contents.max()) + 1, _NEVER)
    place[wanted] = np.arange(len(wanted))
    rows = np.flatnonzero(place[contents] != _NEVER).astype(np.int32)
    return rows[np.argsort(place[contents[rows]], kind="stable")]


def copied_percent(table: Table, split: Split) -> float:
    """How much of the test part equals rows of the training part."""
    return 100 * float(np.isin(table.contents[split.test], table.contents[split.train]).mean())


def _parts(table: Table, test_rows: int, seed: int) -> tuple[Rows, Rows]:
    """The rows of the training and of the test part."""
    rows = np.arange(len(table.frame), dtype=np.int32)
    if table.times is not None:
        ordered = rows[np.argsort(table.times, kind="stable")]
        times = table.times[ordered]
        cut = np.searchsorted(times, times[-test_rows])  # before all rows of that time
        return ordered[:cut], ordered[cut:]
    if table.groups is not None:
        by_group = GroupShuffleSplit(n_splits=1, test_size=TEST_FRACTION, random_state=seed)
        train, test = next(by_group.split(rows, groups=table.groups))
        return train, test
    classes = table.y if table.task == "classification" else None
    train, test = train_test_split(rows, test_size=test_rows, random_state=seed, stratify=classes)
    return train, test


def _splitter(table: Table, folds: int, seed: int) -> Any:
    """scikit-learn's, where rows are not in time."""
    stratify, shuffled = table.task == "classification", {"shuffle": True, "random_state": seed}
    if table.groups is not None:
        return (StratifiedGroupKFold if stratify else GroupKFold)(folds, **shuffled)
    return (StratifiedKFold if stratify else KFold)(folds, **shuffled)


def _validations_in_time(times: NDArray[np.float64], folds: int) -> Iterator[Rows]:
    """The positions of the rows that validate each fold, which divide the different times."""
    distinct, of_row = np.unique(times, return_inverse=True)
    splitter = TimeSeriesSplit(folds, test_size=max(1, len(distinct) // (2 * folds)))
    for _, validation in splitter.split(distinct):
        yield np.flatnonzero(np.isin(of_row, validation))


def _check_folds(folds: int, training_rows: int) -> None:
    if not 2 <= folds <= training_rows:
        allowed = f"a whole number from 2 to {training_rows}, the training rows, is allowed"
        advice = "raise folds" if folds < 2 else "lower folds or use a table with more rows"
        raise UserError(f"folds={folds}: {allowed}; {advice}")


def _check_distinct(what: str, values: int, training: int, folds: int, *, needed: int) -> None:
    if training < needed:
        raise UserError(
            f"folds={folds}: the column of {what} has {values} different values, of which {training} are in the "
            f"training part, and {needed} are needed there; lower folds, or choose a column with more"
        )


def _check_classes(labels: NDArray[Any], part: str, folds: int) -> None:
    classes, rows = np.unique(labels, return_counts=True)
    rarest = int(np.argmin(rows))
    if rows[rarest] < folds:
        raise UserError(
            f"folds={folds}: class {classes[rarest]} has only {rows[rarest]} of the rows in the {part}, and every "
            "class needs one for each fold; lower folds, or merge or drop the class"
        )
