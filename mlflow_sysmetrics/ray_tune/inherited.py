"""Trials' processes inherit the id of the driver's own run under `mlflow run`; here they lose it."""

from __future__ import annotations

import os
from typing import Any

from mlflow.environment_variables import MLFLOW_RUN_ID

_NAME = MLFLOW_RUN_ID.name


def forget_run(actor: Any, run_id: str | None) -> None:
    """Have a trial's process forget this run, and the one in MLFLOW_RUN_ID here, before its next step.

    Otherwise ``mlflow.start_run()`` there would go on in the driver's run, and end it, where Ray was started while the
    environment named that. Another run that the process was given on purpose stays. Returns at once.
    """
    ours = {run_id, os.environ.get(_NAME)} - {None}
    if ours:
        # A lambda travels whole: other nodes need not have this package.
        actor.__ray_call__.remote(lambda trainable: os.environ.get(_NAME) in ours and os.environ.pop(_NAME))
