"""The login in a tracking address like ``http://me:secret@host:5000``."""

from __future__ import annotations

import os
from urllib.parse import unquote, urlsplit

import mlflow

from mlflow_sysmetrics.addresses import redacted


def check(address: str) -> None:
    """Raise ValueError, with a text for the user, unless clients find the host in this address of a server."""
    try:
        read, meant = urlsplit(address), urlsplit(redacted(address))
        if (read.hostname, read.port) == (meant.hostname, meant.port):
            return
    except ValueError:  # its text has parts of the password
        pass
    raise ValueError("it cannot be read; write special characters of the password as %XX, such as # as %23")


def move_to_environment() -> None:
    """Have MLflow read its server's login from variables, in this process and those that it starts.

    MLflow's links, messages and artifact addresses repeat the tracking address as it is.
    """
    address = mlflow.get_tracking_uri()
    try:
        check(address)
    except ValueError:
        return  # said where the store is checked
    parts = urlsplit(address)
    if parts.scheme in ("http", "https") and parts.username and parts.password:
        os.environ["MLFLOW_TRACKING_USERNAME"] = unquote(parts.username)
        os.environ["MLFLOW_TRACKING_PASSWORD"] = unquote(parts.password)
        mlflow.set_tracking_uri(parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl())
