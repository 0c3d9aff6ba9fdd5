"""What the studies that a report is given can answer together: on which page, and what they are called."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from pathlib import Path

from entrypoints.errors import UserError
from entrypoints.reporting.studies import Study
from entrypoints.text import listed

SEED = "seed"  # the one parameter in which full studies of one dataset may differ
MAX_REPEATED = 26  # full studies of one dataset, which a page calls by letters


class ReportKind(Enum):
    """What a report is about."""

    STUDY = "one study, and those of the same trials under limits"
    STABILITY = "full studies of one dataset that differ in seed or host, or in nothing"
    DATASETS = "a full study of each of several datasets"


def kind_of(studies: Sequence[Study]) -> ReportKind:
    """What kind of report these studies are for.

    Raises:
        UserError: they do not go together.
    """
    if len({study.dataset or "unknown" for study in studies}) > 1:
        _check_datasets(studies)
        return ReportKind.DATASETS
    if sum(study.criteria is None for study in studies) > 1:
        _check_repeated(studies)
        return ReportKind.STABILITY
    if _keys_differ(studies):
        raise UserError(
            f"{_given(studies)}: they cannot be compared, since their data, max_rows, folds, seed, max_steps, "
            "max_epochs or report_every differ; give them one at a time"
        )
    return ReportKind.STUDY


def compared(studies: Sequence[Study]) -> str:
    """What several studies are called together: their datasets, or how many there are of one."""
    names = list(dict.fromkeys(Path(study.dataset or "unknown").name for study in studies))
    return listed(names, 5) if len(names) > 1 else f"{names[0]}, {len(studies)} studies"


def _check_datasets(studies: Sequence[Study]) -> None:
    datasets = list(dict.fromkeys(study.dataset or "unknown" for study in studies))
    if len(datasets) < len(studies) or any(study.criteria or study.dataset is None for study in studies):
        raise UserError(
            f"{_given(studies)}: they are of different datasets ({', '.join(datasets)}); give those of one, or one "
            "full study, by tune, of each"
        )
    keys = [study.key for study in studies if study.key]
    if len(set(keys)) < len(keys):
        raise UserError(
            f"{_given(studies)}: two of {', '.join(datasets)} are the same data; give one study of each data"
        )


def _check_repeated(studies: Sequence[Study]) -> None:
    """Full studies of one dataset must be equal in all but the seed."""
    if any(study.criteria for study in studies):
        raise UserError(
            f"{_given(studies)}: several full studies are compared without those under limits; give the full ones "
            "alone, or one of them with those under limits"
        )
    if len(studies) > MAX_REPEATED:
        raise UserError(f"study: {len(studies)} studies of one dataset were given; give at most {MAX_REPEATED}")
    first = studies[0]
    names = dict.fromkeys(name for study in studies for name in (*study.fixed, *study.hyperparameters))
    wrong = [
        name
        for name in names
        if len({(study.fixed.get(name), name in study.hyperparameters) for study in studies}) > 1 and name != SEED
    ]
    if wrong or any(study.score != first.score for study in studies):
        raise UserError(
            f"{_given(studies)}: they cannot be compared, since their {listed(wrong or ['scores'])} differ; give full "
            f"studies that differ in {SEED} alone, or one at a time"
        )
    # With max_rows the seed also draws the rows, so that the digest differs.
    is_sample = first.fixed.get("max_rows", "all") != "all"
    tables = {study.data_digest for study in studies if study.data_digest}
    same_seed = len({study.fixed.get(SEED) for study in studies}) == 1
    if (len(tables) > 1 and not is_sample) or (same_seed and _keys_differ(studies)):
        raise UserError(
            f"{_given(studies)}: they cannot be compared, since their data differ; give studies of the same table"
        )


def _keys_differ(studies: Sequence[Study]) -> bool:
    return len({study.key for study in studies if study.key}) > 1


def _given(studies: Sequence[Study]) -> str:
    return f"study={','.join(study.run_id for study in studies)}"
