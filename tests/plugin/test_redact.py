"""Tests of mlflow_sysmetrics.common.redact: no password of an address is left, and nothing else is lost."""

import contextlib
import logging
import time

import pytest
from cases import cases, rows
from hypothesis import given
from hypothesis import strategies as st

from mlflow_sysmetrics.common.redact import check_address, get_logger, lasting_uri, redacted, redacted_text, with_login

PASSWORD = "hush42"
ODD = st.text(st.sampled_from("a1:/?#[]@ '\"%\\&=;<>\n"), max_size=5)
SCHEMES = ("http", "https", "postgresql", "mysql+pymysql", "mssql+pyodbc")


@given(
    st.sampled_from(SCHEMES),
    ODD.filter(lambda text: not {":", "/"} & set(text)),
    ODD.filter(lambda text: "?" not in text.partition("@")[2]),  # the start of a query, then
    ODD.filter(lambda text: "?" not in text),
)
def test_no_password_is_left_whatever_its_characters(scheme, user, before, after):
    """Clients read some of these in other ways, or refuse them; nobody sees the password."""
    assert PASSWORD not in redacted(f"{scheme}://{user}:{before}{PASSWORD}{after}@host:5000/db?sslmode=require")


@given(st.text())
def test_any_text_is_taken(text):
    """Training must not fail for an address that is none; what was redacted once stays as it is."""
    assert redacted(redacted(text)) == redacted(text)
    redacted_text(text)


@cases("text, left", rows(__file__, "redacted.txt"))
def test_passwords_of_logins_and_queries_go(text, left):
    """The rest tells a person, and the client that delivers a journal, which store it is.

    Exceptions of MLflow, of requests and of databases are sentences around the address that was used.
    """
    assert redacted_text(text) == left


@cases("address, answer", rows(__file__, "addresses.txt"))
def test_address_that_clients_read_otherwise_is_refused(address, answer):
    """They would look for the store in a part of the password, and their errors would show it."""
    with contextlib.nullcontext() if answer == "read" else pytest.raises(ValueError, match="write special characters"):
        check_address(address)


def test_time_grows_linearly_with_the_text():
    """A message may hold a server's whole answer."""
    began = time.process_time()
    redacted_text("://" + "y:" * 500_000)
    assert time.process_time() - began < 10  # 0.04; hours where it grows with the square


def test_log_holds_no_password_and_never_raises(caplog):
    """Neither in arguments nor in a traceback, nor in that of the error behind it. A wrong message is the handlers'."""
    logger = get_logger("mlflow_sysmetrics.of_this_test")
    try:
        try:
            raise OSError("http://me:hush42@there")
        except OSError as error:
            raise ValueError("at http://me:hush42@there") from error
    except ValueError as error:
        logger.warning("%s failed", error, exc_info=True)
    assert PASSWORD not in caplog.text
    assert "at http://there failed" in caplog.text
    assert "OSError: http://there" in caplog.text
    assert logger.filter(logger.makeRecord(logger.name, logging.WARNING, "", 0, "%d", ("seven",), None))


def test_addresses_are_kept_without_password_and_working_folder(tmp_path, monkeypatch):
    """So that they may lie in a file, and mean the same from anywhere."""
    monkeypatch.chdir(tmp_path)
    here = f"sqlite:///{tmp_path}/mlflow.db"
    for uri, kept in {"http://me:hush42@there/a": "http://there/a", "sqlite:///mlflow.db": here, here: here}.items():
        assert lasting_uri(uri) == kept


@cases(
    "kept, current, used",
    [
        ("http://there", "http://me:hush42@there", "http://me:hush42@there"),
        ("http://there", "http://me:hush42@elsewhere", "http://there"),
        ("postgresql://me@db/x", "postgresql://me:hush42@db/x", "postgresql://me:hush42@db/x"),
    ],
)
def test_login_of_the_same_address_is_used(kept, current, used):
    """And of no other: a login is for one server."""
    assert with_login(kept, current) == used
