"""The login in a tracking address like ``http://me:secret@host:5000``."""

from __future__ import annotations

import os
from urllib.parse import unquote, urlsplit

from mlflow_sysmetrics.redact import check


def move_to_environment() -> None:
    """Have MLflow read its server's login from variables, in this process and those that it starts.

    MLflow's links, messages and artifact addresses repeat the tracking address as it is.
    """
    address = os.environ.get("MLFLOW_TRACKING_URI", "")
    if not address.startswith(("http://", "https://")):
        return
    try:
        check(address)
        parts = urlsplit(address)
    except ValueError:
        return  # said where the store is checked
    if parts.username and parts.password:
        import mlflow

        os.environ["MLFLOW_TRACKING_USERNAME"] = unquote(parts.username)
        os.environ["MLFLOW_TRACKING_PASSWORD"] = unquote(parts.password)
        mlflow.set_tracking_uri(parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl())
