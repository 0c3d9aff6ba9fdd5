"""What tests of the plugin share."""

import pytest
from served_models import log_models


@pytest.fixture(autouse=True)
def journals(tmp_path, monkeypatch):
    """The folder of what waits for `sync`, of each test alone."""
    monkeypatch.setenv("MLFLOW_SYSMETRICS_SPOOL", str(tmp_path / "journals"))
    return tmp_path / "journals"


@pytest.fixture(scope="session")
def logged(tmp_path_factory):
    """Models that can be served, and some that cannot."""
    return log_models(tmp_path_factory.mktemp("models"))
