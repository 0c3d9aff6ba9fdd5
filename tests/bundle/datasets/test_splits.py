"""The 70/30 split and the folds."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pandas as pd
from cases import cases

from entrypoints.datasets.splits import copied_percent, make_split
from entrypoints.datasets.tables import Table

LABELS = ["no"] * 120 + ["yes"] * 60 + ["maybe"] * 20


def _table(y):
    """A table of this target alone, sorted as many are."""
    task = "classification" if isinstance(y[0], str) else "regression"
    return Table("made up", pd.DataFrame({"y": y}), "y", task, None)


of_each_task = cases("table", {"classes": _table(LABELS), "numbers": _table(np.arange(200.0))})


def _is_shared_out(split):
    """Whether each row is in one part, and each training row validated once."""
    validated = np.concatenate([validation for _, validation in split.folds])
    parts = np.concatenate([split.train, split.test])
    return sorted(parts) == list(range(200)) and sorted(validated) == sorted(split.train)


@of_each_task
def test_parts_and_folds_share_the_rows_out(table):
    """70 to 30; a fold fits on all rows that it does not validate."""
    split = make_split(table, folds=9, seed=1)
    assert _is_shared_out(split)
    assert (len(split.train), len(split.test), len(split.folds)) == (140, 60, 9)
    for fit, validation in split.folds:
        assert sorted([*fit, *validation]) == sorted(split.train)
        assert np.ptp(validation) > 100  # not a block of the table
    assert np.ptp(split.test) > 150
    assert (split.fit_rows, split.max_batch_size) == (125, 124)


def test_parts_keep_the_class_proportions():
    """Train, test and every validation part hold the classes as 6 : 3 : 1."""
    split, labels = make_split(_table(LABELS), folds=7, seed=1), np.array(LABELS)
    sizes = {"train": 14, "test": 6} | dict.fromkeys(range(7), 2)
    parts = {"train": split.train, "test": split.test} | dict(enumerate(rows for _, rows in split.folds))
    for name, rows in parts.items():
        rare = sizes[name]
        assert Counter(labels[rows].tolist()) == {"no": 6 * rare, "yes": 3 * rare, "maybe": rare}


@of_each_task
def test_same_seed_gives_the_same_split_and_another_seed_another(table):
    """The split is a function of its arguments; the folds are shuffled apart from the training part."""
    first, again, other = (make_split(table, folds=5, seed=seed) for seed in (3, 3, 4))
    assert first.to_json() == again.to_json()
    assert sorted(first.train) != sorted(other.train)
    places = [np.isin(split.train, split.folds[0][1]).tolist() for split in (first, other)]
    assert places[0] != places[1]


GROUPS = np.random.default_rng(0).permutation(np.arange(200) // 4)  # 50 of four rows


@of_each_task
def test_rows_of_one_group_are_in_one_part_and_one_fold(table):
    """The test part has about 30 % of the groups; each training row is validated once."""
    split = make_split(replace(table, groups=GROUPS), folds=5, seed=1)
    assert _is_shared_out(split)
    assert len(split.test) == 60
    for one, other in [(split.train, split.test), *split.folds]:
        assert not set(GROUPS[one]) & set(GROUPS[other])
    assert split.groups.tolist() == GROUPS.tolist()


PLACES = np.arange(200) % 50


@cases("groups", {"alone": None, "with groups": np.where(PLACES < 24, PLACES // 4, PLACES)})
def test_copies_of_a_row_are_kept_together_where_that_is_asked_for(groups):
    """Each content occurs eight times. Two are in one group, or one is in two groups. By default they are anywhere."""
    table = replace(_table(PLACES / 1.0 // 2), groups=groups)
    usual, together = (make_split(table, folds=5, seed=1, duplicates=each) for each in (None, "together"))
    assert copied_percent(table, usual) > 20
    assert copied_percent(table, together) == 0
    assert _is_shared_out(together)
    assert together.groups is not None
    for kept in (table.contents, table.contents if groups is None else groups):
        assert not any(set(kept[fit]) & set(kept[validation]) for fit, validation in together.folds)


@cases(
    "rows, starts",
    {
        "each row has its own time": (1, [70, 84, 98, 112, 126, 140]),
        "nine rows have the same": (9, [10, 11, 12, 13, 14, 15]),
    },
)
def test_each_part_is_later_than_what_is_trained_on_for_it(rows, starts):
    """The end is the test part; the folds' validation rows divide the second half of the rest."""
    times = np.random.default_rng(0).permutation(200) // rows * 1.0
    split = make_split(replace(_table(np.arange(200.0)), times=times), folds=5, seed=1)

    def between(start, end):
        return sorted(times[(times >= start) & (times < end)])

    assert sorted(times[split.test]) == between(starts[-1], np.inf)
    assert [*times[split.train]] == between(0, starts[-1])
    for (fit, validation), start, end in zip(split.folds, starts[:-1], starts[1:], strict=True):
        assert ([*times[fit]], [*times[validation]]) == (between(0, start), between(start, end))


def test_as_many_folds_as_training_rows_are_allowed():
    """Leave-one-out."""
    split = make_split(_table(np.arange(20.0)), folds=14, seed=1)
    assert {len(validation) for _, validation in split.folds} == {1}


@of_each_task
def test_folds_of_fewer_rows_leave_the_training_and_the_test_part_whole(table):
    """The rows are spread over the target, each stays in its fold, and each class that is rare keeps its rows."""
    whole = make_split(table, folds=5, seed=1)
    fewer = whole.thinned(20, table)
    assert (len(fewer.train), len(fewer.test)) == (140, 60)
    for (_, validation), (_, own) in zip(fewer.folds, whole.folds, strict=True):
        assert {*validation} <= {*own}
    kept = table.y[np.concatenate([validation for _, validation in fewer.folds])]
    if table.classes:
        labels = Counter(kept.tolist())
        assert (labels["yes"], labels["maybe"]) == (42, 14)
        assert labels["no"] < 84
    else:
        assert len(kept) == len(fewer.test_of_trials) == 20
        assert np.diff(np.sort(kept)).max() < 20
