"""The server of `mlflow-sysmetrics ui` where it fails, and ports that others hold. What works is in test_ui_command."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from commands import store_uri
from mlflow import MlflowClient
from tracking_server import free_port

from mlflow_sysmetrics.command.local_server import LocalServer, ServerFailedError, has_run, is_free


def test_failed_server_says_its_last_words(empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the password of an address in them, and nothing is left of it."""
    monkeypatch.setenv("MLFLOW_TRACE_ARCHIVAL_CONFIG", "postgresql://me:hush42@there/nowhere.yaml")
    server = LocalServer(store_uri(empty_store), free_port())
    server.start()
    with pytest.raises(
        ServerFailedError, match=r"(?s)did not start\..*me@there/nowhere.yaml.*does not exist"
    ) as failed:
        server.wait_until_ready()
    server.stop()
    server.stop()
    assert "hush42" not in str(failed.value)


def test_port_that_another_program_holds_is_not_free(client: MlflowClient) -> None:
    """And a program that is no MLflow server has no run, whatever it answers."""
    run = client.create_run("0")
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert not is_free(port)
        other.close()
        assert is_free(port)
        assert not has_run(port, run)
