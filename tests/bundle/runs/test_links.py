"""Links that open the right page of the MLflow UI."""

from cases import cases
from pages import fragment

from entrypoints.runs.links import how_to_open, run_view


def test_link_opens_one_tab_of_one_run():
    """In the experiment that it is in, and in the mode that shows training runs."""
    assert fragment(run_view("7", "r1", "system-metrics")) == (
        "/experiments/7/runs/r1/system-metrics",
        {"workflowType": ["machine_learning"]},
    )


@cases(
    "uri, ours, mlflows",
    {
        "database": (
            "sqlite:///my runs.db",
            "mlflow-sysmetrics ui --tracking-uri 'sqlite:///my runs.db'",
            "mlflow server --port 5000 --backend-store-uri 'sqlite:///my runs.db'",
        ),
        "database with a password": (
            "postgresql://me:hush42@db/mlflow",
            "mlflow-sysmetrics ui",
            "MLFLOW_BACKEND_STORE_URI=$MLFLOW_TRACKING_URI mlflow server --port 5000",
        ),
    },
)
def test_page_of_a_store_without_a_server_comes_with_the_command_that_starts_one(uri, ours, mlflows):
    """It can be pasted into a shell: our command where that is installed, else MLflow's."""
    for installed, command in (({"mlflow-sysmetrics": "/bin/it"}, ours), ({}, mlflows)):
        lines = how_to_open("#/page", uri, installed.get).splitlines()
        assert [line.strip() for line in lines] == [command, "http://127.0.0.1:5000/#/page"]


@cases("uri", ["http://server:8080", "http://me:hush42@server:8080"])
def test_page_of_a_server_is_its_address_without_a_login(uri):
    """Nothing has to be started."""
    assert how_to_open("#/page", uri) == "  http://server:8080/#/page"
