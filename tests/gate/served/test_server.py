"""What is counted as a cost of a model's server."""

import os
from unittest.mock import Mock

from machines import child

from mlflow_gate.served import Server


def test_cpu_time_of_a_process_that_the_model_has_started_is_the_servers():
    """Here this process is the server, and a child of it the model's."""
    server = Server(Mock(), Mock(pid=os.getpid()), 0, Mock())
    with child() as started:
        server.find_processes()
        before_s = server.cpu_seconds()
        work = "began = time.process_time(); sum(range(10**6)); print(time.process_time() - began)"
        spent_s = float(started.do(work))
        assert server.cpu_seconds() - before_s >= spent_s
