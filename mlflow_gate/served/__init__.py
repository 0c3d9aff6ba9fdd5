"""What a model costs as MLflow serves it: MLflow's own server, one client, and the figures of both.

from mlflow_gate.served import served_costs

costs = served_costs("models:/m@champion")
costs.figures["served_p95_ms"]

`model` has its files, `requests` the bodies that ask for its rows. `server` is MLflow's, and `connection` reaches it or
any other endpoint. `pacing` says when requests fall due, `client` sends them, `latency` reads their times, and
`contention` says whether other programs had the cores. `figures` are what is found so, and `judging` holds them to
limits.
"""

from mlflow_gate.served.connection import Endpoint, ServerError
from mlflow_gate.served.figures import (
    ServedCosts,
    asked,
    costs_of,
    endpoint_costs,
    served_at_rates,
    served_costs,
    warm_up,
)
from mlflow_gate.served.judging import Judgement, judged, served_limits
from mlflow_gate.served.latency import PERCENTS
from mlflow_gate.served.model import ServedError, ServedModel, downloaded
from mlflow_gate.served.requests import Table, in_batches, one_by_one, table_of
from mlflow_gate.served.server import Server, serving
