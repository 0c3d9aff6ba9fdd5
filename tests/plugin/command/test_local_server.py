"""The server of `mlflow-sysmetrics ui` where it fails, and ports that others hold. What works is in test_ui_command."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import pytest
from commands import store_uri
from mlflow import MlflowClient
from tracking_server import free_port

from mlflow_sysmetrics.command.local_server import LocalServer, ServerFailedError, has_run, is_free


@pytest.mark.parametrize(
    "server", [pytest.param("mlflow", marks=pytest.mark.slow), pytest.param("script", id="one that says the same")]
)
def test_failed_server_says_its_last_words(
    empty_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: str
) -> None:
    """Without the password of an address in them, and nothing is left of it."""
    address = "postgresql://me:hush42@there/nowhere.yaml"
    if server == "script":
        script = tmp_path / "python"
        script.write_text(f"#!/bin/sh\necho Error: {address} does not exist\nexit 2\n")
        script.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(script))
    monkeypatch.setenv("MLFLOW_TRACE_ARCHIVAL_CONFIG", address)
    local = LocalServer(store_uri(empty_store), free_port())
    local.start()
    with pytest.raises(
        ServerFailedError, match=r"(?s)did not start\..*me@there/nowhere.yaml.*does not exist"
    ) as failed:
        local.wait_until_ready()
    local.stop()
    local.stop()
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
