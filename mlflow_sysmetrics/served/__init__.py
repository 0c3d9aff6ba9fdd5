"""What a model costs as MLflow serves it: MLflow's own server, one client, and the figures of both.

from mlflow_sysmetrics.served import served_costs

costs = served_costs("models:/m@champion")
costs.figures["served_p95_ms"]

`model` has its files, `requests` those of its rows, `server` is MLflow's. `pacing` says when requests fall due,
`client` sends them, `latency` reads their times, and `contention` says whether other programs had the cores. `figures`
and `capacity` are what is found so, and `judging` holds it to limits.
"""

from mlflow_sysmetrics.served.capacity import served_capacity
from mlflow_sysmetrics.served.figures import ServedCosts, asked, costs_of, served_costs, warm_up
from mlflow_sysmetrics.served.judging import Judgement, capacity_limit, judged, served_limits
from mlflow_sysmetrics.served.latency import PERCENTS
from mlflow_sysmetrics.served.model import ServedError, ServedModel, downloaded
from mlflow_sysmetrics.served.requests import Table, in_batches, one_by_one, table_of
from mlflow_sysmetrics.served.server import Server, ServerError, serving
