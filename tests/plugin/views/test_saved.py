"""Views in an experiment's tags: written where the UI knows them, few, and never over what a user has made."""

from __future__ import annotations

import json
import random
import string
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from reference import fragment
from saved_views import PREFIX, listed, tags_of
from server_here import server_here

from mlflow_sysmetrics.views import saved
from mlflow_sysmetrics.views.kept import MAX_CHARACTERS, MAX_STUDIES
from mlflow_sysmetrics.views.page import Page, Section, bars
from mlflow_sysmetrics.views.saved import has_views, is_view, save

LIMIT_S = 30.0  # what has not come by then fails the test
NOTE = "mlflow.note.content"
NOWHERE = "http://127.0.0.1:9"  # nobody listens there
PAGES = {
    "score": Page("wine · score", "tags.a = 'b'", sort_by="loss", sections=[Section("Costs", [bars("elapsed_s")])]),
    "table": Page("wine · table", "tags.a = 'b'", "TABLE", sort_by="loss"),
}
LONG = Page("long", "".join(random.Random(0).choices(string.ascii_letters, k=8_000)))  # it cannot be compressed
PLAIN = {word: page.plain_link("1") for word, page in PAGES.items()}


@dataclass
class FakeServer:
    """A fake of MLflow's servers of other versions, which this machine lacks: it answers /version and nothing else."""

    status: int = 200
    text: str = ""
    hangs: bool = False
    asked: list[str] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)
    uri: str = ""

    def __enter__(self) -> FakeServer:
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                fake.asked.append(self.path)
                if fake.hangs:
                    fake.released.wait(LIMIT_S)
                known = self.path == "/version"
                self.send_response(fake.status if known else 404)
                self.end_headers()
                self.wfile.write(fake.text.encode() if known else b"")

            def log_message(self, *args: object) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        self.uri = f"http://127.0.0.1:{self._server.server_address[1]}"
        return self

    def __exit__(self, *error: object) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def experiment_id(client: MlflowClient) -> str:
    """An experiment without a tag."""
    (experiment,) = [each for each in client.search_experiments() if each.name == "studies"]
    assert experiment.experiment_id == "1"  # as PLAIN has it
    return "1"


@pytest.fixture
def save_studies(client: MlflowClient, experiment_id: str) -> Callable[[int], list[Run]]:
    """Make this number of runs, and save the views of each, the oldest first."""

    def made(count: int) -> list[Run]:
        runs = [client.create_run(experiment_id) for _ in range(count)]
        for number, run in enumerate(runs):
            pages = {word: Page(f"{number} {word}", page.wanted, page.shown) for word, page in PAGES.items()}
            assert all(map(is_view, save(client, experiment_id, run.info.run_id, pages).values()))
        return runs

    return made


@pytest.fixture
def refusing(client: MlflowClient) -> Iterator[None]:
    """MLflow's client gives up at the first refusal."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        yield


def names(client: MlflowClient, experiment_id: str) -> list[str]:
    """Those of the views, as the menu lists them."""
    return list(listed(client, experiment_id))


def owners(client: MlflowClient, experiment_id: str) -> set[str]:
    """Whose views the experiment has."""
    return {key.removeprefix(f"{PREFIX}sysmetrics-").partition("-")[0] for key in tags_of(client, experiment_id)}


def test_link_opens_the_view_that_the_menu_lists(client: MlflowClient, experiment_id: str) -> None:
    """As charts or as a table, and without a filter of its own, which would win over that of the view."""
    links = save(client, experiment_id, "a" * 32, PAGES)
    ids = {view.name: view.id for view in listed(client, experiment_id).values()}
    for word, page in PAGES.items():
        assert is_view(links[word])
        assert fragment(links[word]) == (
            f"/experiments/{experiment_id}/runs",
            {
                "workflowType": ["machine_learning"],
                "viewStateShareKey": [ids[page.name]],
                "compareRunsMode": [page.shown],
            },
        )


def test_menu_lists_the_pages_in_their_order(client: MlflowClient, experiment_id: str) -> None:
    """The newest comes first there, so that no two may be of the same moment."""
    pages = {word: Page(f"page {word}", "") for word in "ebdac"}
    save(client, experiment_id, "all", pages)
    assert names(client, experiment_id) == [page.name for page in pages.values()]
    assert len({view.created_ms for view in listed(client, experiment_id).values()}) == len(pages)


def test_page_that_is_too_long_for_a_tag_has_a_plain_link(client: MlflowClient, experiment_id: str) -> None:
    """The others are views all the same."""
    links = save(client, experiment_id, "all", {"long": LONG, **PAGES})
    assert links["long"] == LONG.plain_link(experiment_id)
    assert names(client, experiment_id) == [page.name for page in PAGES.values()]
    assert is_view(links["score"])
    assert max(map(len, tags_of(client, experiment_id).values())) <= MAX_CHARACTERS == 5_000


def test_second_call_writes_the_same_views_anew(client: MlflowClient, experiment_id: str) -> None:
    """Under the same address, with what is known now."""
    first = save(client, experiment_id, "all", PAGES)
    later = {word: Page(f"{page.name}, later", "", page.shown) for word, page in PAGES.items()}
    assert save(client, experiment_id, "all", later) == first
    assert names(client, experiment_id) == [page.name for page in later.values()]


def test_views_of_the_ten_newest_studies_are_kept(
    client: MlflowClient, experiment_id: str, save_studies: Callable[[int], list[Run]]
) -> None:
    """Those over the whole experiment are beside them, and take no place of a study, as often as they are written.

    So what an experiment costs to open does not grow.
    """
    save(client, experiment_id, "all", {"studies": Page("All studies", "")})
    runs = save_studies(MAX_STUDIES + 2)
    newest = {run.info.run_id for run in runs[-MAX_STUDIES:]}
    assert owners(client, experiment_id) == newest | {"all"}
    save(client, experiment_id, "all", {"studies": Page("All studies", "")})
    assert owners(client, experiment_id) == newest | {"all"}
    assert MAX_STUDIES == 10
    tags = tags_of(client, experiment_id)
    assert len(tags) == MAX_STUDIES * len(PAGES) + 1
    assert sum(map(len, tags.values())) <= len(tags) * 1_000


def test_views_of_deleted_runs_are_removed(
    client: MlflowClient, experiment_id: str, save_studies: Callable[[int], list[Run]]
) -> None:
    """By the next study."""
    kept, deleted = save_studies(2)
    client.delete_run(deleted.info.run_id)
    save(client, experiment_id, "f" * 32, PAGES)
    assert owners(client, experiment_id) == {kept.info.run_id, "f" * 32}
    save(client, experiment_id, kept.info.run_id, PAGES)  # there is no run fff..
    assert owners(client, experiment_id) == {kept.info.run_id}


def test_store_that_does_not_know_for_now_has_no_view_removed(
    client: MlflowClient, experiment_id: str, save_studies: Callable[[int], list[Run]]
) -> None:
    """A run that cannot be read this time is not one that was deleted."""

    class Faltering(MlflowClient):
        def get_run(self, run_id: str) -> Run:
            raise MlflowException("502: bad gateway")

    (kept,) = save_studies(1)
    save(Faltering(client.tracking_uri), experiment_id, "all", PAGES)
    assert owners(client, experiment_id) == {kept.info.run_id, "all"}


def test_views_of_others_are_left_alone(
    client: MlflowClient, experiment_id: str, save_studies: Callable[[int], list[Run]]
) -> None:
    """Whatever they hold: those that a user has saved in the UI, and those that cannot be read."""
    theirs = {
        f"{PREFIX}0f8fad5b": json.dumps({"name": "mine", "createdAt": 1, "state": "{}"}),
        f"{PREFIX}broken": "{",
        f"{PREFIX}sysmetrics-{'b' * 32}-broken": "{",
        f"{PREFIX}sysmetrics-{'c' * 32}-list": "[]",
        f"{PREFIX}sysmetrics-{'d' * 32}-empty": "{}",
        "mlflow.note.content": "what is here",
        "sysmetrics-note": "a tag",
    }
    for key, value in theirs.items():
        client.set_experiment_tag(experiment_id, key, value)
    save_studies(MAX_STUDIES + 3)
    assert theirs.items() <= client.get_experiment(experiment_id).tags.items()


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param({"name": "my favourite"}, id="renamed"),
        pytest.param({"state": json.dumps({"searchFilter": "metrics.loss < 1"})}, id="overridden"),
    ],
)
def test_view_that_a_user_has_changed_stays_as_it_is(
    client: MlflowClient, experiment_id: str, save_studies: Callable[[int], list[Run]], changed: dict[str, str]
) -> None:
    """It is not written over, its link still opens it, and it outlives the views of its study."""
    (run,) = save_studies(1)
    key = f"{PREFIX}sysmetrics-{run.info.run_id}-score"
    before = json.loads(tags_of(client, experiment_id)[key])
    for kept in (before | changed, {name: (before | changed)[name] for name in ("name", "createdAt", "state")}):
        client.set_experiment_tag(experiment_id, key, json.dumps(kept))  # MLflow's UI keeps three fields
        links = save(client, experiment_id, run.info.run_id, PAGES)
        assert links["score"].count(key.removeprefix(PREFIX)) == 1
        assert json.loads(tags_of(client, experiment_id)[key]) == kept
    save_studies(MAX_STUDIES)
    client.delete_run(run.info.run_id)
    save(client, experiment_id, "all", PAGES)
    left = {each for each in tags_of(client, experiment_id) if run.info.run_id in each}
    assert left == {key}


@pytest.mark.parametrize(
    ("server", "known"),
    [
        pytest.param(FakeServer(text="3.17.2"), True, id="3.17.2"),
        pytest.param(FakeServer(text="3.17.0rc1\n"), True, id="before 3.17.0"),
        pytest.param(FakeServer(text="3.10.1"), False, id="3.10.1"),
        pytest.param(FakeServer(text="4.0.0"), False, id="4.0.0"),
        pytest.param(FakeServer(text="4.0.0rc1"), False, id="before 4.0.0"),
        pytest.param(FakeServer(text=""), False, id="nothing"),
        pytest.param(FakeServer(text="<html>Sign in</html>"), False, id="another page"),
        pytest.param(FakeServer(text="3.17.2", status=404), False, id="404"),
        pytest.param(FakeServer(text="3.17.2", status=503), False, id="503"),
    ],
)
def test_server_has_views_if_its_version_is_one_whose_format_is_known(server: FakeServer, known: bool) -> None:
    """3.17 and all up to the next major version."""
    with server:
        assert has_views(server.uri) is known
        assert server.asked == ["/version"]


def test_server_that_hangs_is_given_up_within_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then links are plain ones."""
    assert saved.ANSWER_S <= 5
    monkeypatch.setattr(saved, "ANSWER_S", 0.2)
    with FakeServer(text="3.17.2", hangs=True) as server:
        began = time.monotonic()
        assert save(MlflowClient(server.uri), "1", "all", PAGES) == PLAIN
        assert time.monotonic() - began < 5
        assert server.asked == ["/version"]


@pytest.mark.parametrize("text", ["3.10.1", "4.0.0"])
def test_nothing_is_written_to_a_server_of_another_format(text: str) -> None:
    """Its links are plain ones."""
    with FakeServer(text=text) as server:
        assert save(MlflowClient(server.uri), "1", "all", PAGES) == PLAIN
        assert server.asked == ["/version"]


@pytest.mark.parametrize("uri", ["databricks", "databricks://team", "databricks-uc"])
def test_databricks_has_no_such_views(uri: str) -> None:
    """Its pages are other ones."""
    assert has_views(uri) is False


def test_real_server_has_views(client: MlflowClient, experiment_id: str) -> None:
    """They are written through it like any."""
    with server_here(client.tracking_uri) as uri:
        assert all(map(is_view, save(MlflowClient(uri), experiment_id, "all", PAGES).values()))
    assert names(client, experiment_id) == [page.name for page in PAGES.values()]


def test_store_that_is_away_has_plain_links(refusing: None) -> None:
    """Nothing is raised: a view is not worth a study."""
    assert save(MlflowClient(NOWHERE), "1", "all", PAGES) == PLAIN


def test_store_that_refuses_has_plain_links_and_a_warning(
    client: MlflowClient, caplog: pytest.LogCaptureFixture
) -> None:
    """Here the experiment has been deleted, so that its tags cannot be set. Nothing is raised."""
    client.delete_experiment("1")
    assert save(client, "1", "all", PAGES) == PLAIN
    assert "the views of experiment 1 could not be written" in caplog.text


def test_server_that_knows_views_and_refuses_the_rest_has_plain_links(
    refusing: None, caplog: pytest.LogCaptureFixture
) -> None:
    """As one that answers /version to everybody and the rest only to some."""
    with FakeServer(text="3.17.2") as server:
        assert save(MlflowClient(server.uri), "1", "all", PAGES) == PLAIN
    assert "could not be written" in caplog.text


def test_descriptions_lead_to_plain_pages_once_their_views_are_removed(
    client: MlflowClient, experiment_id: str, save_studies: Callable[[int], list[Run]]
) -> None:
    """Of the study itself and of a report on it; the UI would open another page for a view that is gone."""
    study, report = client.create_run(experiment_id), client.create_run(experiment_id)
    links = save(client, experiment_id, study.info.run_id, PAGES)
    for run in (study, report):
        client.set_tag(run.info.run_id, NOTE, " ".join(f"[{word}]({link})" for word, link in links.items()))
    save_studies(MAX_STUDIES)
    assert study.info.run_id not in owners(client, experiment_id)
    plain = " ".join(f"[{word}]({link})" for word, link in PLAIN.items())
    assert [client.get_run(run.info.run_id).data.tags[NOTE] for run in (study, report)] == [plain, plain]
