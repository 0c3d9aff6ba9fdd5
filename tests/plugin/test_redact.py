"""Tests of mlflow_sysmetrics.redact: no password of an address is left, and nothing else is lost."""

import contextlib
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlflow_sysmetrics.redact import check_address, get_logger, lasting_uri, redacted, redacted_text, with_login

PASSWORD = "hush42"
ODD = st.text(st.sampled_from("a1:/?#[]@ '\"%\\&=;<>\n"), max_size=5)
WITHOUT_PASSWORD = (
    *("https://there:5000/mlflow/#/experiments/0?workflowType=machine_learning", "http://[::1]:5000", "http://there"),
    *("sqlite:////home/me:you@work/mlflow.db", "sqlite:///C:/a@b.db", "file:///a:b@c", "postgresql://me@db:1/x"),
    *("databricks", "databricks://profile", "mlruns", ""),
)
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


@pytest.mark.parametrize(
    ("address", "left"),
    [
        ("http://me:hush42@there:5000/a", "http://there:5000/a"),
        ("http://token@there", "http://there"),
        ("postgresql://me:hush%3442@db:1/x", "postgresql://me@db:1/x"),
        ("postgresql://me@site:hush42@db/x", "postgresql://me@site@db/x"),
        ("postgresql://me@db/x?password=hush42&sslmode=require", "postgresql://me@db/x?sslmode=require"),
        ("postgresql://me@db/x?p%61ssword=hush42", "postgresql://me@db/x"),
        ("postgresql://me@db/x?passfile=/home/me/.pgpass", "postgresql://me@db/x?passfile=/home/me/.pgpass"),
        ("mysql://db/x?ssl_key=a.pem&passwd=hush42", "mysql://db/x?ssl_key=a.pem"),
        ("mssql://db/x?driver=y&Password=hush42", "mssql://db/x?driver=y"),
        ("mssql+pyodbc:///?odbc_connect=DRIVER=x;PWD=hush42", "mssql+pyodbc:///"),
        ("http://there/?token=hush42#/x", "http://there/"),
        *((address, address) for address in WITHOUT_PASSWORD),
    ],
)
def test_passwords_of_logins_and_queries_go(address, left):
    """The rest tells a person, and the client that delivers a journal, which store it is."""
    assert redacted(address) == left


@pytest.mark.parametrize(
    ("address", "is_read"),
    [
        *((address, True) for address in WITHOUT_PASSWORD),
        ("http://me:hush%2342@there:5000/a", True),
        ("http://me:hush@42@there", True),
        ("http://me:hush/42@there", False),
        ("http://me:[hush42@there", False),
        ("http://there:5000/a@b", False),
        ("postgresql://me@site:hush/#?42@there/x", True),
        ("postgresql://me:hush@42@there/x", False),
        ("postgresql://m/e:hush42@there/x", False),
    ],
)
def test_address_that_clients_read_otherwise_is_refused(address, is_read):
    """They would look for the store in a part of the password, and their errors would show it."""
    with contextlib.nullcontext() if is_read else pytest.raises(ValueError, match="write special characters"):
        check_address(address)


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("API request to http://me:hush42@there:1/api failed (x@y)", "API request to http://there:1/api failed (x@y)"),
        ("Invalid url: http://me:a#hush42@there/api", "Invalid url: http://there/api"),
        ("'http://me:a hush42@there'", "'http://there'"),
        ("from http://me:hush42@there,http://you:hush42@here to", "from http://there,http://here to"),
        ("see http://localhost:5000 or ask me@work", "see http://localhost:5000 or ask me@work"),
        ("no address: a:b@c", "no address: a:b@c"),
    ],
)
def test_addresses_in_a_sentence_are_redacted(text, left):
    """Exceptions of MLflow, of requests and of databases hold the address that was used."""
    assert redacted_text(text) == left


def test_long_texts_take_no_time():
    """A message may hold a whole answer of a server."""
    redacted_text("x" * 1_000_000 + "://" + "y:" * 100_000)


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
    logger.warning("%d", 7)
    text = logging.Formatter().format(caplog.records[0])
    assert PASSWORD not in text + caplog.text
    assert "at http://there failed" in text
    assert "OSError: http://there" in text
    assert caplog.records[1].args == (7,)
    assert logger.filter(logger.makeRecord(logger.name, logging.WARNING, "", 0, "%d", ("seven",), None))


@pytest.mark.parametrize(
    ("uri", "lasting"),
    [
        ("http://me:hush42@there/a", "http://there/a"),
        ("sqlite:////abs/mlflow.db", "sqlite:////abs/mlflow.db"),
        ("sqlite:///mlflow.db", "sqlite:///{cwd}/mlflow.db"),
    ],
)
def test_addresses_are_kept_without_password_and_working_folder(uri, lasting, monkeypatch, tmp_path):
    """So that they may lie in a file, and mean the same from anywhere."""
    monkeypatch.chdir(tmp_path)
    assert lasting_uri(uri) == lasting.replace("{cwd}", str(tmp_path))


@pytest.mark.parametrize(
    ("kept", "current", "used"),
    [
        ("http://there", "http://me:hush42@there", "http://me:hush42@there"),
        ("http://there", "http://me:hush42@elsewhere", "http://there"),
        ("postgresql://me@db/x", "postgresql://me:hush42@db/x", "postgresql://me:hush42@db/x"),
    ],
)
def test_login_of_the_same_address_is_used(kept, current, used):
    """And of no other: a login is for one server."""
    assert with_login(kept, current) == used
