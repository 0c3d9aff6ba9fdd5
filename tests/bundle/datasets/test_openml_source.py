"""Tables from OpenML, without a network beyond this machine: downloads, mistakes, and openml's own cache."""

import dataclasses
import threading

import numpy as np
import pandas as pd
import pytest
import xmltodict
from cases import cases, sentence
from servers import free_port, serving
from werkzeug import Request, Response

from entrypoints.datasets import openml_source
from entrypoints.datasets.known import KNOWN, load
from entrypoints.errors import UserError

UNKNOWN = {"oml:error": {"oml:code": 111, "oml:message": "Unknown dataset"}}


class MadeUpOpenML:
    """Has datasets by their id. ``requests`` are the paths that were asked for; ``fault`` is what it does to all."""

    def __init__(self):
        self.address = ""
        self.pages = {}
        self.fault = ""
        self.requests = []
        self.ended = threading.Event()

    def publish(self, openml_id, frame, target, **more):
        """Add a dataset with a Parquet file; ``more`` is what its description says besides or instead."""
        about = {
            "id": openml_id,
            "name": "made_up",
            "version": 1,
            "format": "ARFF",
            "default_target_attribute": target,
            "url": f"{self.address}/data/{openml_id}.arff",
            "parquet_url": f"{self.address}/datasets/{openml_id}.pq",
        }
        description = {f"oml:{key}": value for key, value in (about | more).items()}
        self.pages[f"/api/v1/xml/data/{openml_id}"] = _xml({"oml:data_set_description": description})
        self.pages[f"/datasets/{openml_id}.pq"] = frame.to_parquet(index=False)

    @Request.application
    def answer(self, request):
        """What it answers, unless the fault is that it is silent."""
        self.requests.append(request.path)
        if self.fault == "silent":
            self.ended.wait()
        if self.fault == "busy":
            return Response("Busy", 503)
        if request.path not in self.pages:
            return Response(_xml(UNKNOWN), 412)
        response = Response(self.pages[request.path])
        response.add_etag()
        return response


def _xml(content):
    return xmltodict.unparse(content).encode()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache."""
    monkeypatch.setattr("openml.config._root_cache_directory", tmp_path)
    return tmp_path


@pytest.fixture
def own_openml(monkeypatch):
    """One with a small dataset."""
    running = MadeUpOpenML()
    with serving(running.answer) as running.address:
        monkeypatch.setattr("openml.config.server", f"{running.address}/api/v1/xml")
        running.publish(61, _small(), "label", name="small")
        yield running
        running.ended.set()


def _small():
    """Numbers, categories, truth values and missing values, as OpenML has them."""
    random = np.random.default_rng(0)
    frame = pd.DataFrame({"whole": random.integers(0, 200, 40)})
    frame["number"] = pd.Series(random.normal(size=40)).where(frame.index % 7 > 0)
    frame["kind"] = pd.Categorical([None, "a"] + ["b or c", "a"] * 19, ["b or c", "a", "never"])
    frame["flag"] = pd.Categorical(["true", "false"] * 20)
    frame["label"] = pd.Categorical(["2", "1", "2", "3"] * 10)
    return frame


def _asks(openml, name="openml:61"):
    """Whether a table is asked for: else it is read from the cache."""
    before = len(openml.requests)
    load(name)
    return len(openml.requests) > before


def test_table_is_downloaded_once(own_openml):
    """The second time the cache gives the same, and nobody is asked; so for another target."""
    first = load("openml:61")
    assert first.openml_id == 61
    assert first.categories == {"kind": ("a", "b or c"), "flag": ("False", "True")}
    own_openml.requests.clear()
    second = load("openml:61")
    other = load("openml:61", target="whole")
    assert own_openml.requests == []
    assert second.name == "small"
    assert second.target == "label"
    assert second.digest == first.digest
    assert second.class_values == first.class_values == {"1": "1", "2": "2", "3": "3"}
    assert other.task == "regression"


@cases(
    "fault, why",
    {
        "offline": ("away", "[Errno 111] Connection refused"),
        "silent": ("silent", "no answer within 0.5 s"),
        "busy": ("busy", "Unexpected server error when calling HERE. Please contact the developers!"),
        "unknown id": ("", "Unknown dataset"),
    },
)
def test_failed_download_is_told_in_one_sentence_and_the_cache_stays(own_openml, monkeypatch, fault, why):
    """What was kept before is used as if nothing had happened."""
    load("openml:61")
    own_openml.fault = fault
    why = why.replace("HERE", f"{own_openml.address}/api/v1/xml/data/5")
    says = (
        f"dataset=openml:5: openml cannot give it: {why}; look the id up on openml.org, try again later, or give the "
        "path of a CSV or Parquet file"
    )
    with monkeypatch.context() as patch:
        if fault == "silent":
            patch.setattr(openml_source, "LIMIT_S", 0.5)
        if fault == "away":
            patch.setattr("openml.config.server", f"http://127.0.0.1:{free_port()}")
        with pytest.raises(UserError, match=sentence(says)):
            load("openml:5")
    assert not _asks(own_openml)


def test_damaged_file_is_refused_by_its_path(own_openml):
    """Parquet that was cut."""
    own_openml.pages["/datasets/61.pq"] = own_openml.pages["/datasets/61.pq"][:500]
    with pytest.raises(UserError, match=r"openml cannot give it: File: /.*/dataset_61.pq: .*Parquet magic bytes"):
        load("openml:61")


def test_columns_that_openml_ignores_are_left_out(own_openml):
    """So are the numbers of the rows."""
    own_openml.publish(61, _small(), "label", ignore_attribute=["whole", "flag"], row_id_attribute="number")
    assert load("openml:61").feature_names == ("kind",)


def test_sparse_columns_are_read(own_openml):
    """From a file without Parquet."""
    arff = "@RELATION odd\n@ATTRIBUTE sparse NUMERIC\n@ATTRIBUTE label NUMERIC\n@DATA\n"
    own_openml.pages["/data/7.arff"] = (arff + "{0 1.5, 1 2}\n{1 1}\n" * 20).encode()
    own_openml.publish(7, _small(), "label", format="Sparse_ARFF", parquet_url=None)
    table = load("openml:7")
    assert table.frame["sparse"].tolist() == [1.5, 0.0] * 20
    assert table.classes == ("1", "2")


def _wave():
    """Made up: 16 coordinate pairs, 16 powers and their sum, in the structure of wave_energy."""
    random = np.random.default_rng(0)
    places = pd.DataFrame(random.uniform(0, 566, (300, 32))).rename(columns="x{}".format)
    powers = pd.DataFrame(random.normal(2.4e5, 1e4, (300, 16))).rename(columns="power{}".format)
    return places.join(powers).assign(energy_total=powers.sum(axis=1))


@cases("name", ["wave_energy", "openml:44975"])
def test_wave_energy_loses_the_columns_that_add_up_to_its_target(own_openml, monkeypatch, name):
    """A line says that its content is not known here."""
    monkeypatch.setitem(KNOWN, "wave_energy", dataclasses.replace(KNOWN["wave_energy"], rows=300))
    own_openml.publish(44975, _wave(), "energy_total")
    lines = []
    table = load(name, echo=lines.append)
    assert table.name == "wave_energy"
    assert table.task == "regression"
    assert table.target == "energy_total"
    assert table.X.shape == (300, 32)
    assert lines[-1] == f"dataset={name}: checked by its 300 rows and its columns alone; its content is not known here"
    assert not _asks(own_openml, name)


@cases(
    "change, why",
    {
        "columns": (lambda wave: wave.drop(columns="x1"), "16 of 48 columns hold ..."),
        "missing": (lambda wave: wave.assign(power7=np.nan), "... does not add up to the target"),
        "sum": (
            lambda wave: wave.assign(energy_total=1.08 * wave["energy_total"]),
            "... does not add up to the target",
        ),
        "rows": (pd.DataFrame.copy, "300 rows found, 72000 expected"),
    },
)
def test_table_that_is_not_the_known_one_is_refused(own_openml, change, why):
    """A leak that is not where it is expected must not be trained on; nor is it from the cache."""
    own_openml.publish(44975, change(_wave()), "energy_total")
    says = f"dataset=wave_energy: OpenML's table is refused: {why}; give the path of your own copy instead"
    for _ in range(2):
        with pytest.raises(UserError, match=sentence(says)):
            load("wave_energy")


@cases("name", ["diabetes", "OpenML:44972"])
def test_bundled_tables_ask_nobody(own_openml, name):
    """Under their names and under their ids: the digest of the copy is checked."""
    load(name, echo=pytest.fail)
    assert own_openml.requests == []
