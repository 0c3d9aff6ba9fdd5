"""What a command does with the login of a store, and says of its password: nothing."""

import os
import socket

import mlflow
import pytest
from cases import cases
from commands import invoke
from servers import serving
from werkzeug import Response

from entrypoints.errors import UserError
from entrypoints.runs.recorded import check_store, move_login_to_environment, record_failure, recorded_run
from entrypoints.tune import tune

PASSWORD = "hush42"
LOGIN = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD")


@pytest.fixture
def login_store(store_in_use, monkeypatch):
    """A store that MLflow uses in this process, whose settings are as before afterwards."""
    for name in ("MLFLOW_TRACKING_URI", *LOGIN):
        monkeypatch.setenv(name, "")  # so that whatever is set now is undone
        monkeypatch.delenv(name)
    return store_in_use


@pytest.fixture
def port():
    """Where a server wants a login."""
    with serving(Response(status=401)) as address:
        yield int(address.rpartition(":")[2])


def test_server_that_asks_for_a_login_answers(port):
    """With a login in its address, too; whether that is right is seen at the first request."""
    check_store(f"http://me:{PASSWORD}@127.0.0.1:{port}")


@cases("password", [PASSWORD, *(f"p{mark}{PASSWORD}" for mark in "[#@"), f"5/{PASSWORD}"])
def test_server_that_does_not_answer_is_said_at_once_without_its_password(login_store, monkeypatch, password):
    """One sentence, whatever is in the password; MLflow by itself would try for minutes."""
    monkeypatch.setenv("MLFLOW_RUN_ID", "0" * 32)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # bound but not listening: connections are refused
        port = closed.getsockname()[1]
        mlflow.set_tracking_uri(f"http://me:{password}@127.0.0.1:{port}")
        result = invoke(tune)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(f"Error: MLFLOW_TRACKING_URI=http://127.0.0.1:{port}: ")
    assert result.stderr.count("\n") == 1
    assert PASSWORD not in result.stderr


@cases(
    "address",
    [
        *(f"http://me:{start}{PASSWORD}@127.0.0.1:{{port}}" for start in ("p#", "p[", "5/")),
        f"postgresql://me:p@{PASSWORD}@127.0.0.1/x",
        f"postgresql://me:p@a:{PASSWORD}@127.0.0.1/x",
    ],
)
def test_password_that_no_client_can_read_is_explained(address, port):
    """A store is there, and MLflow would look for it elsewhere, at a part of the password."""
    with pytest.raises(UserError, match="such as # as %23") as error:
        check_store(address.format(port=port))
    assert PASSWORD not in error.value.message


def test_login_is_moved_out_of_the_address(login_store):
    """MLflow's own links and messages repeat the address."""
    mlflow.set_tracking_uri("http://me:hush%2342@there:5000/mlflow")
    move_login_to_environment()
    assert mlflow.get_tracking_uri() == os.environ["MLFLOW_TRACKING_URI"] == "http://there:5000/mlflow"
    assert [os.environ[name] for name in LOGIN] == ["me", "hush#42"]


@cases("uri", ["http://me@there", "http://me:p#x@there", "postgresql://me:x@db/y"])
def test_other_addresses_stay_as_they_are(uri, login_store):
    """MLflow knows no variables for the login of a database."""
    mlflow.set_tracking_uri(uri)
    move_login_to_environment()
    assert mlflow.get_tracking_uri() == uri
    assert not set(LOGIN) & set(os.environ)


def test_deleted_run_is_refused_and_no_other_begun(login_store, monkeypatch):
    """The error has no run to stand in, and does not make one."""
    run_id = login_store.create_run("0").info.run_id
    login_store.delete_run(run_id)
    monkeypatch.setenv("MLFLOW_RUN_ID", run_id)
    with pytest.raises(UserError, match="deleted"), recorded_run("study", "tune", {}):
        pass
    assert login_store.search_runs(["0"]) == []


def test_error_of_a_run_holds_no_password(login_store, monkeypatch):
    """Neither in its tag, which everyone can read, nor in the traceback."""
    with pytest.raises(OSError, match=r"^at http://there$"), recorded_run("study", "tune", {}):
        raise OSError(f"at http://me:{PASSWORD}@there")
    (run,) = login_store.search_runs(["0"])
    assert run.data.tags["sysmetrics.error"] == "OSError: at http://there"
    monkeypatch.setenv("MLFLOW_RUN_ID", run.info.run_id)
    record_failure(UserError(f"not http://me:{PASSWORD}@there"))
    assert login_store.get_run(run.info.run_id).data.tags["sysmetrics.error"] == "not http://there"
