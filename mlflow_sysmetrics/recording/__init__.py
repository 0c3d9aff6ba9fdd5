"""A measurement on its way into an MLflow run.

A `recording` moves what is measured into a run and ends it. The `logger` has one for a block of code, and `autologging`
for each run of a process. `events` tell the command around a program of its runs. `host` has the facts about a machine,
which `run_context` gives MLflow as tags; `tags` are the names of all tags, and an `outcome` is how a run ended.
"""

from mlflow_sysmetrics.recording.host import SYSTEM_FACTS, Host
from mlflow_sysmetrics.recording.outcome import FINISHED, Outcome, killed
