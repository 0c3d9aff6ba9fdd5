"""A name -> a checked table and where it came from.

What a known dataset must hold is written down here and compared after loading, so a study never runs on other rows
than the ones it names.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from entrypoints.datasets import table_files
from entrypoints.datasets.cleaning import Cleaned, clean
from entrypoints.datasets.openml_source import DownloadError, OpenML, Raw, UnknownIdError
from entrypoints.datasets.tables import Facts, Table, Task
from entrypoints.datasets.wave_energy import without_converters
from entrypoints.errors import UserError, say
from entrypoints.text import Echo, closest

__all__ = ["DATA", "KNOWN", "Facts", "Known", "Table", "Task", "known", "load"]

DATA = Path(__file__).parents[1] / "data"
PREFIX = "openml:"

# Rows of the digits 0 to 9 in mnist_784.
_DIGITS = (6903, 7877, 6990, 7141, 6824, 6313, 6876, 7293, 6825, 6958)


def _as_it_is(frame: pd.DataFrame, target: str | None) -> pd.DataFrame:
    return frame


@dataclass(frozen=True)
class Known:
    """A dataset that studies name: its id, its task, and the facts that its table must agree with.

    ``licence`` is None where OpenML's word is taken. ``prepare`` is applied to OpenML's columns and raises ValueError
    if they are not what it expects.
    """

    task: Task
    openml_id: int
    facts: Facts
    licence: str | None = None
    bundled: bool = False
    prepare: Callable[[pd.DataFrame, str | None], pd.DataFrame] = _as_it_is


KNOWN: Mapping[str, Known] = {
    "diabetes": Known(
        task="classification",
        openml_id=37,
        licence="none stated by the source",
        bundled=True,
        facts=Facts(
            columns=("preg", "plas", "pres", "skin", "insu", "mass", "pedi", "age", "class"),
            rows=768,
            target={"tested_negative": 500, "tested_positive": 268},
            digest="a93e97d51d3c791bb41f1769f371179a28811e744f7164a735ec1c8d0e45004c",
        ),
    ),
    "red_wine": Known(
        task="regression",
        openml_id=44972,
        licence="CC BY 4.0",
        bundled=True,
        facts=Facts(
            columns=(
                "fixed_acidity",
                "volatile_acidity",
                "citric_acid",
                "residual_sugar",
                "chlorides",
                "free_sulfur_dioxide",
                "total_sulfur_dioxide",
                "density",
                "pH",
                "sulphates",
                "alcohol",
                "quality",
            ),
            rows=1599,
            target={"min": 3, "max": 8},
            digest="aac7f095efc699870e1b14aa826ecf0aa3e0c6ff10208e921f4644e9efaee5c8",
        ),
    ),
    "mnist_784": Known(
        task="classification",
        openml_id=554,
        facts=Facts(
            columns=(*(f"pixel{number}" for number in range(1, 785)), "class"),
            rows=70000,
            target=dict(zip("0123456789", _DIGITS, strict=True)),
            digest="02f5d0fafe5028ebba6f7a78bee07292d3d4af3ae6e2686540031a80891e2446",
        ),
    ),
    "wave_energy": Known(
        task="regression",
        openml_id=44975,
        facts=Facts(columns=None, rows=72000, target=None, digest=None),
        prepare=without_converters,
    ),
}


def known() -> tuple[str, ...]:
    """Return the names that ``load`` takes, the bundled ones first."""
    return tuple(KNOWN)


def load(
    name: str,
    *,
    target: str | None = None,
    folder: Path = DATA,
    known: Mapping[str, Known] = KNOWN,
    source: OpenML | None = None,
    echo: Echo = say,
) -> Table:
    """Return the table of that name, checked. ``echo`` gets a line for anything that the user should know.

    ``name`` is a known dataset, ``openml:<id>``, or the path of a CSV or Parquet file. ``target`` names the column to
    predict; it is required for a file, and the others have a default. Unknown tables go through ``cleaning.clean``.

    A table from OpenML is the read-only copy of an earlier download if there is an intact one (no request is made),
    else a new download. The two bundled tables never need the network under their names: their bytes are checked
    against the known digest, so a download could add nothing. ``openml:37`` and ``openml:44972`` ask OpenML for them,
    and get the bundled copy, with a line, where it cannot be had.

    ``folder`` holds the bundled files; ``source`` is OpenML's server and the cache, by default those of the
    environment. Raises UserError for what the user can fix, and RuntimeError, naming the file, if a bundled file is
    damaged.
    """
    expected = known.get(name)
    if expected and expected.bundled:
        return _retarget(_bundled(name, expected, folder / f"{name}.csv.gz"), target, f"dataset={name}", echo)
    if expected or name.lower().startswith(PREFIX):
        openml_id = expected.openml_id if expected else _openml_id(name)
        names = [other for other, entry in known.items() if entry.openml_id == openml_id]
        source = source or OpenML.from_environment()
        if names:
            return _known_from_openml(name, names[0], known[names[0]], target, folder, source, echo)
        return _other_from_openml(name, openml_id, target, source, echo)
    if table_files.is_path(name):
        cleaned = clean(table_files.read(name, echo=echo), target, what=f"dataset={name}", echo=echo)
        return _table(table_files.stem(Path(name)), cleaned, "file", None, "not stated")
    raise UserError(_unknown(name, known))


def _unknown(name: str, known: Mapping[str, Known]) -> str:
    allowed = f"one of {', '.join(known)}, openml:<id> or the path of a CSV or Parquet file is allowed"
    return f"dataset={name}: {allowed}; {closest(name, known, 'use one of these')}"


def _openml_id(name: str) -> int:
    number = name[len(PREFIX) :]
    if number.isascii() and number.isdigit() and len(number) < 10 and int(number) > 0:
        return int(number)
    raise UserError(
        f"dataset={name}: a whole number above 0 is allowed after {PREFIX}, as in openml:61; look the id up on "
        "openml.org"
    )


def _known_from_openml(
    given: str, name: str, expected: Known, target: str | None, folder: Path, source: OpenML, echo: Echo
) -> Table:
    """The cached copy if it agrees with the facts, else OpenML's, else the bundled one."""
    what = f"dataset={given}"
    raw = source.cached(expected.openml_id, echo)
    if raw:
        try:
            return _retarget(_agreeing(name, expected, raw, "cache"), target, what, echo)
        except ValueError as error:
            echo(f"The cached copy of openml:{expected.openml_id} is not used: {error}")
    try:
        raw = source.download(expected.openml_id, echo)
        table = _agreeing(name, expected, raw, "openml")
    except (DownloadError, ValueError) as error:
        if not expected.bundled:
            raise UserError(_failed(given, source, error)) from error
        echo(f"{what} cannot be downloaded from {source.host} ({error}): the bundled copy of {name} is used")
        return _retarget(_bundled(name, expected, folder / f"{name}.csv.gz"), target, what, echo)
    source.keep(raw, echo)
    return _retarget(table, target, what, echo)


def _agreeing(name: str, expected: Known, raw: Raw, source: str) -> Table:
    """The table of a known dataset. Raises ValueError, saying what differs, if it is not what is known of it."""
    what = f"dataset={name}"
    target = expected.facts.columns[-1] if expected.facts.columns else raw.about.target
    try:
        frame = expected.prepare(raw.frame, target)
        cleaned = clean(frame, target, what=what, echo=_silent, task=expected.task, keep_all=True)
    except UserError as error:
        raise ValueError(error.message) from error
    table = _table(name, cleaned, source, expected.openml_id, expected.licence or raw.about.licence)
    if difference := Facts.of(table).difference(expected.facts):
        raise ValueError(f"it is not the known table: {difference}")
    return table


def _silent(line: str) -> None:
    """Say nothing: the facts decide."""


def _other_from_openml(name: str, openml_id: int, target: str | None, source: OpenML, echo: Echo) -> Table:
    raw, origin = source.cached(openml_id, echo), "cache"
    if raw is None:
        try:
            raw, origin = source.download(openml_id, echo), "openml"
        except DownloadError as error:
            raise UserError(_failed(name, source, error)) from error
        source.keep(raw, echo)
    cleaned = clean(raw.frame, target or raw.about.target, what=f"dataset={name}", echo=echo)
    return _table(raw.about.name, cleaned, origin, openml_id, raw.about.licence)


def _failed(name: str, source: OpenML, error: Exception) -> str:
    if isinstance(error, UnknownIdError):
        return f"dataset={name}: {error}; look the id up on openml.org"
    if isinstance(error, DownloadError):
        advice = "try again later, or give the path of a CSV or Parquet file"
        return f"dataset={name}: the download from {source.host} failed: {error}; {advice}"
    return f"dataset={name}: what {source.host} sent is refused: {error}; give the path of your own copy instead"


def _table(name: str, cleaned: Cleaned, source: str, openml_id: int | None, licence: str) -> Table:
    target = str(cleaned.frame.columns[-1])
    return Table(name, cleaned.frame, target, cleaned.task, source, openml_id, licence, cleaned.class_values)


def _retarget(table: Table, target: str | None, what: str, echo: Echo) -> Table:
    """The same table, or if another column is the target, what that leaves of it."""
    if target in (None, "", table.target):
        return table
    cleaned = clean(table.frame, target, what=what, echo=echo)
    return _table(table.name, cleaned, table.source, table.openml_id, table.licence)


def _bundled(name: str, expected: Known, path: Path) -> Table:
    assert expected.facts.columns is not None
    *features, target = expected.facts.columns
    # pandas' own parser has been off in the last bit, by version and option; Python's float never is.
    converters: dict[str, type] = dict.fromkeys((*features, target), float)
    if expected.task == "classification":
        converters[target] = str
    try:
        frame = pd.read_csv(path, converters=converters)
        table = Table(name, frame, target, expected.task, "bundled", expected.openml_id, str(expected.licence))
        difference = Facts.of(table).difference(expected.facts)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise RuntimeError(f"{path} cannot be read: {error}; restore it from the repository") from error
    if difference:
        raise RuntimeError(f"{path} is not the {name} table: {difference}; restore it from the repository")
    return table
