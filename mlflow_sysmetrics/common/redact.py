"""Addresses of stores, without what is secret in them: for whatever is printed, tagged, logged or kept in a file."""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote_plus

_SERVERS = ("http://", "https://")
_SCHEME = r"[A-Za-z][\w+.-]{0,30}://"
# A user, and a password with any character, up to the first @ as SQLAlchemy reads it, and on to the last before a "?".
_LOGIN = re.compile(r"^(?!/)([^:]*):[^@]*@(?:[^?]*@)?", re.DOTALL)
_USER = re.compile(r"^[^/?#]*@")
_SECRET_NAME = re.compile(r"pass(?!file)|pwd|secret|token|credential|api_?key|odbc_connect", re.IGNORECASE)
# In a sentence an address ends at a space, unless that is in a password: a port never is one.
_IN_TEXT = re.compile(rf"{_SCHEME}(?:[^\s:/@]+:(?!\d+\b)[^@\n]*@)?(?:(?!{_SCHEME})\S)*")


def is_server(address: str) -> bool:
    """Whether it is that of a tracking server, and not of a file or a database."""
    return address.lower().startswith(_SERVERS)


def redacted(address: str) -> str:
    """The address without passwords: those of its login and of its query. Never raises, whatever the text.

    A server's login goes as a whole, a database's keeps its user. An address that can be read in two ways, such as
    ``http://host:5000/a@b``, loses too much rather than too little.
    """
    scheme, mark, rest = address.partition("://")
    if not mark:
        return address
    rest = _USER.sub("", _LOGIN.sub("", rest)) if is_server(address) else _LOGIN.sub(r"\1@", rest)
    place, _, query = rest.partition("?")
    kept = "&".join(part for part in query.split("&") if not _SECRET_NAME.search(unquote_plus(part.partition("=")[0])))
    return f"{scheme}://{place}?{kept}" if kept else f"{scheme}://{place}"


def check_address(address: str) -> None:
    """Raise ValueError, with a text for the user, where clients look for the store in a part of its password."""
    rest = address.partition("://")[2]
    login = _LOGIN.match(rest)
    taken_for_its_end = r"[/?#[\]]" if is_server(address) else "^[^:]*/|:.*@"
    if login and re.search(taken_for_its_end, login[0][:-1], re.DOTALL):
        raise ValueError("it cannot be read; write special characters of the password as %XX, such as # as %23")


def redacted_text(text: str) -> str:
    """The text with each address in it redacted: messages of MLflow and of databases hold them whole."""
    return _IN_TEXT.sub(lambda found: redacted(found[0]), text) if "://" in text else text


@contextlib.contextmanager
def redacted_errors() -> Iterator[None]:
    """Redact the message of an error that is raised inside, and those of the errors behind it."""
    try:
        yield
    except Exception as error:
        cause: BaseException | None = error
        while cause is not None:
            cause.args = tuple(redacted_text(part) if isinstance(part, str) else part for part in cause.args)
            if isinstance(message := getattr(cause, "message", None), str):  # of MLflow's, and of click's
                vars(cause)["message"] = redacted_text(message)
            cause = cause.__cause__ or cause.__context__
        raise


def absolute_uri(tracking_uri: str) -> str:
    """The same address, independent of the working folder."""
    scheme, mark, rest = tracking_uri.partition(":///")
    if scheme == "sqlite" and mark and rest and not rest.startswith("/"):
        return f"{scheme}:///{Path(rest).absolute()}"
    return tracking_uri


def sqlite_file(tracking_uri: str) -> Path | None:
    """The file of a SQLite database; None for any other address."""
    file = re.match(r"sqlite[^:]*:///([^?]+)", absolute_uri(tracking_uri))
    return Path(file[1]) if file else None


def lasting_uri(tracking_uri: str) -> str:
    """The address as it may be kept in a file: absolute, and redacted."""
    return redacted(absolute_uri(tracking_uri))


def with_login(kept: str, current: str) -> str:
    """The address that is in use, if a kept one differs from it at most in what was redacted; else the kept one."""
    return current if lasting_uri(current) == redacted(kept) else kept


def get_logger(name: str) -> logging.Logger:
    """The logger of a module of this package: what it logs, tracebacks included, holds no password of an address."""
    logger = logging.getLogger(name)
    logger.addFilter(_redact)
    return logger


def _redact(record: logging.LogRecord) -> bool:
    with contextlib.suppress(Exception):  # of a text that cannot be made: the handler says so, and raises nothing
        message = record.getMessage()
        if (clean := redacted_text(message)) != message:
            record.msg, record.args = clean, ()
        trace = logging.Formatter().formatException(record.exc_info) if record.exc_info else ""
        if (clean := redacted_text(trace)) != trace:
            record.exc_text, record.exc_info = clean, None
    return True
