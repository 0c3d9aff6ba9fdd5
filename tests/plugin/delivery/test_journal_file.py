"""A journal is private, has one writer, survives what is written into it, and goes with its process."""

import os
import resource
import signal
import stat
from pathlib import Path
from unittest import mock

import pytest
from cases import cases
from machines import in_fork

from mlflow_sysmetrics.delivery import journal as journals
from mlflow_sysmetrics.delivery.journal import InUseError, Journal, journal_folder
from mlflow_sysmetrics.delivery.operations import Batch, Point, Status

ABOUT = {"tracking_uri": "there", "run_id": "abc"}
OPERATIONS = [Batch(1000, [Point("loss", 1 / (3 + step), 1000 + step, step)]) for step in range(3)]
needs_fork = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


@pytest.fixture
def path(tmp_path):
    """Of a journal in a folder that is still to be made."""
    return tmp_path / "journals" / "a.jsonl"


def test_operations_come_back_as_they_were(path):
    """Exact to the last bit, in a private file and folder whatever the umask, with whose they are."""
    before = os.umask(0)
    try:
        journal = Journal(path, ABOUT)
    finally:
        os.umask(before)
    journal.append(OPERATIONS)
    journal.close()
    assert [stat.S_IMODE(each.stat().st_mode) for each in (path.parent, path)] == [0o700, 0o600]
    again = Journal(path)
    assert list(again.read()) == OPERATIONS
    assert again.run == ABOUT
    again.close(remove=True)
    assert not path.exists()


def test_checkpoint_stays_when_the_rest_has_been_delivered(path):
    """It is read last. A kill may come before the next one. A summary or an end that comes after it takes its place."""
    journal = Journal(path, ABOUT)
    summary = Batch(1, [], summary={"cpu_seconds": 2.0})
    end = Status("KILLED", 1, {})
    journal.checkpoint([summary, end])
    journal.append(OPERATIONS)
    assert list(journal.read()) == [*OPERATIONS, summary, end]
    journal.empty()
    assert list(journal.read()) == [summary, end]
    later = summary._replace(time_ms=2)
    journal.append([later])
    assert list(journal.read()) == [later]
    journal.close()


def test_what_an_earlier_process_left_stays_for_sync(path):
    """The next one reads nothing of it, however long it is, and removes only what is its own."""
    earlier = Journal(path, ABOUT)
    earlier.append(OPERATIONS)
    earlier.close()
    own = Status("FINISHED", 5, {})
    journal = Journal(path, ABOUT)
    assert journal.holds_earlier
    journal.append([own])
    assert list(journal.read()) == [*OPERATIONS, own]
    journal.empty()
    journal.close(remove=True)
    by_sync = Journal(path)
    assert list(by_sync.read()) == OPERATIONS
    by_sync.close()


def test_file_that_others_can_write_is_refused(path):
    """They may have written it."""
    path.parent.mkdir()
    path.write_text("theirs")
    path.chmod(0o666)
    with pytest.raises(OSError, match="only its owner can write"):
        Journal(path, ABOUT)
    assert path.read_text() == "theirs"


def test_link_is_not_followed(path):
    """To what others have chosen."""
    path.parent.mkdir()
    path.symlink_to(path.parent / "theirs")
    with pytest.raises(OSError, match="symbolic links"):
        Journal(path, ABOUT)
    assert not path.exists()


def test_journal_that_its_owner_removes_meanwhile_is_not_taken(path, monkeypatch):
    """What is written into it would be lost."""
    lock, owner = journals.fcntl.flock, Journal(path, ABOUT)

    def lock_late(file, how):
        owner.close(remove=True)
        lock(file, how)

    monkeypatch.setattr(journals.fcntl, "flock", lock_late)
    with pytest.raises(InUseError):
        Journal(path)


@needs_fork
def test_forked_child_leaves_the_journal_alone_and_does_not_keep_its_lock(path):
    """It can neither write nor open it; when the parent is gone, while the child lives on, it is free."""

    def parent():
        journal, (born, told) = Journal(path, ABOUT), os.pipe()
        if os.fork() == 0:
            signal.alarm(20)
            try:
                journal.append(OPERATIONS)
            except ValueError:  # closed
                try:
                    Journal(path)
                except InUseError:
                    os.write(told, b"refused")
            os.close(told)
            signal.pause()
        return os.read(born, 10) == b"refused"

    assert in_fork(parent) == 1
    journal = Journal(path)
    assert list(journal.read()) == []
    journal.close()


@needs_fork
def test_what_does_not_fit_is_not_written_in_part(path):
    """As on a full disk: what was there stays, and a smaller operation is taken."""
    small = Status("FINISHED", 5, {})

    def child():
        journal = Journal(path, ABOUT)
        journal.append(OPERATIONS)
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 100, resource.RLIM_INFINITY))
        with pytest.raises(OSError, match="large"):
            journal.append(OPERATIONS * 9)
        journal.append([small])
        return list(journal.read()) == [*OPERATIONS, small]

    assert in_fork(child) == 1


@cases(
    "variables, folder",
    [
        ({"MLFLOW_SYSMETRICS_SPOOL": "~/here", "HOME": "/home/me"}, "/home/me/here"),
        ({"HOME": "/home/me"}, "/home/me/.local/state/mlflow-sysmetrics"),
    ],
)
def test_folder_is_the_users_own_unless_named(variables, folder):
    with mock.patch.dict(os.environ, variables, clear=True):
        assert journal_folder() == Path(folder)
