"""Tests of mlflow_sysmetrics.delivery.spool: what comes back from a spool, and what of a damaged one."""

from __future__ import annotations

import json
import os
import stat
import sys
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlflow_sysmetrics.delivery.points import Point
from mlflow_sysmetrics.delivery.spool import (
    FOLDER_VARIABLE,
    ForeignSpoolError,
    Header,
    SpoolFile,
    SpoolInUseError,
    spool_folder,
    spool_path,
)

HEADER = Header("abc", "http://there", {"node": "a"})


def moment(step: int, **values: float) -> list[Point]:
    """The points of one moment."""
    return [Point(name, value, 1000 + step, step) for name, value in values.items()]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The place of a spool in a folder that does not exist yet."""
    return tmp_path / "new" / "folder" / "abc.jsonl"


def left(path: Path, *lines: bytes) -> SpoolFile:
    """A spool with these lines after its first, opened as one that was left behind."""
    spool = SpoolFile.create(path, HEADER)
    spool.append(moment(1, x=0.0))
    spool.close()
    first, _, _ = path.read_bytes().partition(b"\n")
    path.write_bytes(first + b"\n" + b"".join(lines))
    return SpoolFile.open(path)


def drained(spool: SpoolFile, limit: int = 1000) -> list[Point]:
    """All that waits, forgotten batch by batch."""
    found: list[Point] = []
    while points := spool.peek(limit):
        found += points
        spool.forget()
    return found


def test_spool_and_its_folder_are_private(path: Path) -> None:
    """0600 and 0700."""
    spool = SpoolFile.create(path, HEADER)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    spool.close()


def test_points_come_back_as_they_were_in_batches(path: Path) -> None:
    """In order, exact to the last bit, of whole moments, across a restart; peeking again gives the same."""
    written = [moment(step, a=step / 3, b=-1e-300, c=float(2**60)) for step in range(1, 8)]
    spool = SpoolFile.create(path, HEADER)
    for points in written:
        spool.append(points)
    spool.close()
    spool = SpoolFile.open(path)
    assert spool.header == HEADER
    assert spool.peek(7) == spool.peek(7) == written[0] + written[1]
    assert spool.peek(1) == written[0]
    assert drained(spool, 7) == [point for points in written for point in points]
    spool.close()
    assert not path.exists()


def test_delivered_points_give_their_room_back(path: Path) -> None:
    """When everything is forgotten the file is as small as at first, and takes points again."""
    spool = SpoolFile.create(path, HEADER)
    size = path.stat().st_size
    for step in range(3):
        spool.append(moment(step, x=1.0))
        assert not spool.is_empty
        assert drained(spool) == moment(step, x=1.0)
        assert spool.is_empty
        assert path.stat().st_size == size
    spool.close()


def test_what_is_appended_between_peek_and_forget_stays(path: Path) -> None:
    """Only what was peeked is forgotten."""
    spool = SpoolFile.create(path, HEADER)
    spool.append(moment(1, x=1.0))
    spool.peek(1000)
    spool.append(moment(2, x=2.0))
    spool.forget()
    assert drained(spool) == moment(2, x=2.0)
    spool.close()


def test_a_spool_that_is_not_delivered_is_taken_up_by_the_next_logger(path: Path) -> None:
    """Closed with points it stays; created again it goes on after them and knows their last step."""
    spool = SpoolFile.create(path, HEADER)
    spool.append(moment(41, x=1.0))
    spool.close()
    spool = SpoolFile.create(path, HEADER)
    assert spool.last_step == 41
    spool.append(moment(42, x=2.0))
    assert drained(spool) == moment(41, x=1.0) + moment(42, x=2.0)
    spool.close()


GOOD = b'[1001,1,{"x":1.0}]\n'
BROKEN = {
    "truncated": b'[1002,2,{"x":1',
    "empty": b"\n",
    "binary": bytes(range(128, 256)) + b"\n",
    "pickle": b"cos\nsystem\n(S'touch pwned'\ntR.\n",
    "nan": b'[1002,2,{"x":NaN}]\n',
    "infinite": b'[1002,2,{"x":1e999}]\n',
    "huge": b'[1002,2,{"x":1' + b"0" * 400 + b"}]\n",
    "text": b'[1002,2,{"x":"1"}]\n',
    "truth": b'[1002,2,{"x":true}]\n',
    "nothing": b"[1002,2,{}]\n",
    "step": b'[1002,2.5,{"x":1}]\n',
    "far": b'[1002,99999999999999999999,{"x":1}]\n',
    "before": b'[-1,2,{"x":1}]\n',
    "list": b"[1,2,[3]]\n",
    "object": b'{"x":1}\n',
    "short": b"[1002,2]\n",
    "surrogate": b'[1002,2,{"\\ud800":1}]\n',
    "deep": b"[" * 100_000 + b"\n",
}


@pytest.mark.parametrize("line", BROKEN.values(), ids=list(BROKEN))
def test_lines_that_are_not_ours_are_skipped_and_counted(line: bytes, path: Path) -> None:
    """Those around them come back, and a spool with nothing else left counts as delivered."""
    spool = left(path, GOOD, line, *([GOOD] if line.endswith(b"\n") else []))
    count = line.count(b"\n") or 1
    assert drained(spool) == moment(1, x=1.0) * (2 if line.endswith(b"\n") else 1)
    assert spool.skipped == count
    spool.close()
    assert not path.exists()
    assert not Path("pwned").exists()


def test_skipped_lines_are_counted_once_however_often_they_are_peeked(path: Path) -> None:
    """A delivery that has to be repeated reads them again."""
    spool = left(path, GOOD, b"?\n", GOOD)
    for _ in range(3):
        spool.peek(1000)
    assert spool.skipped == 0
    spool.forget()
    assert spool.skipped == 1
    spool.close()


def test_a_line_that_was_cut_off_does_not_spoil_the_next(path: Path) -> None:
    """A logger that takes up the spool of one that was killed loses that line alone."""
    left(path, GOOD, b'[1002,2,{"x":1').close()
    spool = SpoolFile.create(path, HEADER)
    spool.append(moment(3, x=3.0))
    assert drained(spool) == moment(1, x=1.0) + moment(3, x=3.0)
    assert spool.skipped == 1
    spool.close()


FOREIGN = {
    "empty": b"",
    "text": b"dear diary\n",
    "json": b'{"a": 1}\n',
    "version": b'{"mlflow_sysmetrics": 2, "run_id": "a", "tracking_uri": "b"}\n',
    "types": b'{"mlflow_sysmetrics": 1, "run_id": 5, "tracking_uri": "b", "tags": {}}\n',
    "unknown": b'{"mlflow_sysmetrics": 1, "run_id": "a", "tracking_uri": "b", "exec": "x"}\n',
    "parent": b'{"mlflow_sysmetrics": 1, "run_id": "", "tracking_uri": "", "parent": {"run_id": 5}}\n',
    "no-parent": b'{"mlflow_sysmetrics": 1, "run_id": "", "tracking_uri": "", "parent": "c"}\n',
    "deep": b'{"mlflow_sysmetrics": 1, "parent": ' + b'{"parent": ' * 900 + b"{}" + b"}" * 901 + b"\n",
    "cut": json.dumps({"mlflow_sysmetrics": 1, **vars(HEADER)}).encode(),
    "long": b"x" * 1_000_000,
}


@pytest.mark.parametrize("content", FOREIGN.values(), ids=list(FOREIGN))
def test_files_without_our_first_line_are_refused_and_left(content: bytes, tmp_path: Path) -> None:
    """Opening raises, changes nothing and keeps no lock; a new spool of that name moves it out of the way."""
    path = tmp_path / "f.jsonl"
    path.write_bytes(content)
    path.chmod(0o600)
    for _ in range(2):
        with pytest.raises(ForeignSpoolError):
            SpoolFile.open(path)
    assert path.read_bytes() == content
    spool = SpoolFile.create(path, HEADER)
    spool.append(moment(1, x=1.0))
    assert drained(spool) == moment(1, x=1.0)
    spool.close()
    kept = [other.read_bytes() for other in tmp_path.glob("*.damaged")]
    assert kept == ([content] if content else [])


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX limits")
def test_a_spool_that_cannot_be_begun_leaves_no_file(path: Path) -> None:
    """As on a full disk, on which a file can be made but not written."""
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        with pytest.raises(OSError, match="too large"):
            SpoolFile.create(path, HEADER)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(path.parent.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX modes")
def test_where_all_files_look_writable_by_all_a_start_leaves_nothing(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a Windows drive under WSL: no spool there, and no pile of damaged ones."""
    fstat = os.fstat

    def shown(fd: int) -> os.stat_result:
        return os.stat_result((fstat(fd).st_mode | 0o777, *fstat(fd)[1:]))

    monkeypatch.setattr(os, "fstat", shown)
    for _ in range(3):
        with pytest.raises(ForeignSpoolError, match="written by others"):
            SpoolFile.create(path, HEADER)
    assert list(path.parent.iterdir()) == []


@given(st.binary(max_size=300))
@settings(max_examples=100, deadline=None)
def test_no_bytes_break_the_reader(noise: bytes) -> None:
    """Whatever follows the first line, reading ends, and gives only points that a store takes."""
    path = Path(os.environ["PYTEST_SPOOL_NOISE"])
    spool = left(path, GOOD, b"\n", noise)
    for point in drained(spool):
        assert isinstance(point.value, float)
    spool.close()
    assert not path.exists()


@pytest.fixture(autouse=True)
def _place_for_noise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_SPOOL_NOISE", str(tmp_path / "noise.jsonl"))
    monkeypatch.chdir(tmp_path)


def test_a_spool_has_one_owner(path: Path) -> None:
    """A second logger or a sync is refused while it is open."""
    spool = SpoolFile.create(path, HEADER)
    with pytest.raises(SpoolInUseError):
        SpoolFile.create(path, HEADER)
    with pytest.raises(SpoolInUseError):
        SpoolFile.open(path)
    spool.close()


def test_a_full_spool_takes_nothing_more(path: Path) -> None:
    """Beyond its limit an append raises OSError and leaves what is there."""
    spool = SpoolFile.create(path, HEADER, max_bytes=300)
    spool.append(moment(1, x=1.0))
    with pytest.raises(OSError, match="larger than 300"):
        spool.append(moment(2, **{"x" * 300: 1.0}))
    assert drained(spool) == moment(1, x=1.0)
    spool.close()


def test_a_long_spool_is_read_in_pieces(path: Path) -> None:
    """Ten thousand moments come back whole, with a foreign megabyte among them, and in little memory."""
    spool = SpoolFile.create(path, HEADER)
    spool.append([point for step in range(5000) for point in moment(step, x=1.0, y=2.0)])
    spool.close()
    with path.open("ab") as file:
        file.write(b"x" * 1_000_000 + b"\n")
    spool = SpoolFile.create(path, HEADER)
    spool.append([point for step in range(5000, 10_000) for point in moment(step, x=1.0, y=2.0)])
    began = time.process_time()
    assert [point.step for point in drained(spool)] == [step for step in range(10_000) for _ in "xy"]
    assert time.process_time() - began < 2
    assert spool.skipped >= 1
    spool.close()


def test_series_have_files_of_their_own(tmp_path: Path) -> None:
    """Another run, store or prefix is another file; a run id with odd characters stays in the folder."""
    headers = [HEADER, Header("abd", HEADER.tracking_uri), Header("abc", "http://elsewhere")]
    paths = {spool_path(tmp_path, header, prefix) for header in headers for prefix in ("system/", "s/")}
    assert len(paths) == 6
    assert spool_path(tmp_path, Header("../../etc/x", "u"), "").parent == tmp_path


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX folders")
@pytest.mark.parametrize(
    ("given_folder", "variables", "folder"),
    [
        ("/given", {FOLDER_VARIABLE: "/named"}, "/given"),
        (None, {FOLDER_VARIABLE: "/named", "XDG_STATE_HOME": "/state"}, "/named"),
        (None, {"XDG_STATE_HOME": "/state"}, "/state/mlflow-sysmetrics"),
        (None, {"HOME": "/home/me"}, "/home/me/.local/state/mlflow-sysmetrics"),
    ],
    ids=["given", "named", "xdg", "home"],
)
def test_folder_is_the_users_own_unless_named(
    given_folder: str | None, variables: dict[str, str], folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The argument wins over the variable, and that over the home folder."""
    for name in (FOLDER_VARIABLE, "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert spool_folder(given_folder) == Path(folder)


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX users")
def test_a_user_without_a_home_has_a_folder_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """A container may run as a number that no file knows."""

    def unknown(uid: int) -> None:
        raise KeyError(uid)

    for name in (FOLDER_VARIABLE, "XDG_STATE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", unknown)
    assert spool_folder() == Path(tempfile.gettempdir()) / f"mlflow-sysmetrics-{os.getuid()}"
