"""What tests of the plugin share."""

import pytest


@pytest.fixture(autouse=True)
def journals(tmp_path, monkeypatch):
    """The folder of what waits for `sync`, of each test alone."""
    monkeypatch.setenv("MLFLOW_SYSMETRICS_SPOOL", str(tmp_path / "journals"))
    return tmp_path / "journals"
