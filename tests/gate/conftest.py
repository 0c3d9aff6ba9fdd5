"""What tests of the gate share."""

import pytest
from served_models import log_models


@pytest.fixture(scope="session")
def logged(tmp_path_factory):
    """Models that can be served, and some that cannot."""
    return log_models(tmp_path_factory.mktemp("models"))
