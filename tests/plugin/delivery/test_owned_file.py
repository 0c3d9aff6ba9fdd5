"""Tests of delivery.owned_file: whose a file is, who has it open, and that no other file is touched."""

from __future__ import annotations

import os
import signal
import stat
import sys
from pathlib import Path

import pytest
from forks import in_fork

from mlflow_sysmetrics.delivery.owned_file import ForeignSpoolError, OwnedFile, SpoolInUseError

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX files")
LIMIT_S = 10


def descriptor_of(path: Path) -> int:
    """That under which this process has a file open."""
    return next(fd for fd in range(3, 1024) if _is_open(fd) and os.path.samestat(os.fstat(fd), path.stat()))


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def test_a_new_file_is_private_whatever_the_umask(tmp_path: Path) -> None:
    """Its mode is 0600 even where new files may be read by all."""
    before = os.umask(0)
    try:
        file = OwnedFile(tmp_path / "f", create=True)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "f").stat().st_mode) == 0o600
    file.close()


def test_a_file_that_others_may_read_becomes_private(tmp_path: Path) -> None:
    """One that has come back from a copy may have another mode."""
    (tmp_path / "f").write_text("mine")
    (tmp_path / "f").chmod(0o644)
    file = OwnedFile(tmp_path / "f")
    assert stat.S_IMODE((tmp_path / "f").stat().st_mode) == 0o600
    file.close()


@pytest.mark.parametrize("kind", ["writable", "link", "folder", "pipe"])
def test_files_that_others_may_have_made_are_refused(kind: str, tmp_path: Path) -> None:
    """What others may write, links to elsewhere and what is not a file is not opened, and nothing of it is changed."""
    path = tmp_path / "f"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path, 0o600)
    else:
        (tmp_path / "other").write_text("theirs")
        (tmp_path / "other").chmod(0o666)
        path.symlink_to("other") if kind == "link" else (tmp_path / "other").rename(path)
    with pytest.raises((ForeignSpoolError, OSError)):
        OwnedFile(path, create=True)


def test_a_file_has_one_owner_in_a_process(tmp_path: Path) -> None:
    """It opens again once it is closed, and closing twice takes nothing from the next owner."""
    first = OwnedFile(tmp_path / "f", create=True)
    with pytest.raises(SpoolInUseError, match="this process"):
        OwnedFile(tmp_path / "f")
    first.close()
    second = OwnedFile(tmp_path / "f")
    first.close()
    with pytest.raises(SpoolInUseError):
        OwnedFile(tmp_path / "f")
    second.close(remove=True)
    assert not (tmp_path / "f").exists()


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_neither_owns_nor_keeps_the_file(tmp_path: Path) -> None:
    """A child finds it taken by another process, cannot write it, and a child that lives on does not keep it locked."""
    file = OwnedFile(tmp_path / "f", create=True)

    def child() -> bool:
        try:
            file.append(b"from the child")
        except OSError:
            try:
                OwnedFile(tmp_path / "f")
            except SpoolInUseError as error:
                return "another process" in str(error)
        return False

    assert in_fork(child) == 1
    born, alive = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        signal.alarm(LIMIT_S)
        os.close(alive[1])
        os.write(born[1], b"!")
        os.read(alive[0], 1)
        os._exit(0)
    os.read(born[0], 1)
    os.close(descriptor_of(tmp_path / "f"))  # as a kill would, without the explicit unlocking that a close may do
    assert in_fork(lambda: OwnedFile(tmp_path / "f").size == 0) == 1
    os.close(alive[1])
    os.waitpid(pid, 0)
    for descriptor in (*born, alive[0]):
        os.close(descriptor)
    file.close()


def test_a_descriptor_that_became_another_file_is_not_written(tmp_path: Path) -> None:
    """A program that closes all descriptors and opens its own keeps its own whole."""
    file = OwnedFile(tmp_path / "f", create=True)
    file.append(b"ours")
    theirs = os.open(tmp_path / "theirs", os.O_RDWR | os.O_CREAT)
    os.write(theirs, b"precious")
    descriptor = descriptor_of(tmp_path / "f")
    os.dup2(theirs, descriptor)
    for change in (lambda: file.append(b"x"), lambda: file.truncate(0), lambda: file.read(0, 1)):
        with pytest.raises(OSError, match="descriptor"):
            change()
    file.close(remove=True)
    assert (tmp_path / "theirs").read_text() == "precious"
    os.fstat(descriptor)  # still open: it is theirs
    os.close(theirs)
    os.close(descriptor)


def test_what_does_not_fit_is_not_written_in_part(tmp_path: Path) -> None:
    """At a limit that the kernel sets, as on a full disk, the file stays as it was, and goes on when there is room."""
    import resource

    def child() -> bool:
        file = OwnedFile(tmp_path / "f", create=True)
        file.append(b"x" * 900)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
        try:
            file.append(b"y" * 200)
        except OSError:
            file.append(b"z" * 100)
            return (tmp_path / "f").read_bytes() == b"x" * 900 + b"z" * 100
        return False

    assert in_fork(child) == 1
