"""OpenML through the unmodified openml package, from a loopback server: all formats, all faults, and the cache."""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
import pytest
from forked_download import forked_downloads
from openml_server import Fault, OpenMLServer, Part

from entrypoints.datasets.known import KNOWN, Known, load
from entrypoints.datasets.openml_source import About, DownloadError, OpenML, Raw, cache_folder
from entrypoints.errors import UserError

LIMIT_S = 15.0
ROWS = 300


@pytest.fixture
def server() -> Iterator[OpenMLServer]:
    """A server without datasets."""
    with OpenMLServer() as running:
        yield running


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, ...]]:
    """What downloads, without its start."""
    with forked_downloads(tmp_path_factory.mktemp("downloads")) as program:
        yield program


@pytest.fixture
def openml(server: OpenMLServer, tmp_path: Path, program: tuple[str, ...]) -> OpenML:
    """That server as a source, with an empty cache and short time limits."""
    return OpenML(server.api, tmp_path / "cache", timeout_s=1.0, program=program)


def _small() -> pd.DataFrame:
    """Numbers, categories, truth values, text and missing values, as a server would have them."""
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "whole": rng.integers(0, 200, 40),
            "number": np.where(np.arange(40) % 7, rng.normal(size=40), np.nan),
            "kind": pd.Categorical([None, *(["b or c", "a"] * 20)][:40], categories=["b or c", "a", "never"]),
            "flag": pd.Categorical(["true", "false"] * 20),
            "label": pd.Categorical(["2", "1", "2", "3"] * 10),
        }
    )


def _mnist() -> pd.DataFrame:
    """Made up: random bytes under the names of mnist_784."""
    values = np.random.default_rng(0).integers(0, 256, (ROWS, 784), dtype=np.uint8)
    frame = pd.DataFrame(values, columns=[f"pixel{number}" for number in range(1, 785)])
    return frame.assign(**{"class": pd.Categorical([str(row % 10) for row in range(ROWS)])})


def _wave() -> pd.DataFrame:
    """Made up: 16 coordinate pairs, 16 powers and their sum, in the structure of wave_energy."""
    rng = np.random.default_rng(0)
    places = {f"{axis}{number}": rng.uniform(0, 566, ROWS) for axis in "xy" for number in range(1, 17)}
    powers = {f"power{number}": rng.normal(2.4e5, 1e4, ROWS) for number in range(1, 17)}
    return pd.DataFrame({**places, **powers, "energy_total": sum(powers.values())})


def _bundled(name: str) -> pd.DataFrame:
    frame = load(name).frame.copy()
    return frame.astype({"class": "category"}) if name == "diabetes" else frame


def _made_up_facts() -> dict[str, Known]:
    """The known datasets, with what the made-up tables hold where those stand in."""
    mnist, wave = KNOWN["mnist_784"], KNOWN["wave_energy"]
    digits = {str(digit): ROWS // 10 for digit in range(10)}
    mnist_facts = dataclasses.replace(mnist.facts, rows=ROWS, target=digits, digest=None)
    wave_facts = dataclasses.replace(wave.facts, rows=ROWS)
    return {
        **KNOWN,
        "mnist_784": dataclasses.replace(mnist, facts=mnist_facts),
        "wave_energy": dataclasses.replace(wave, facts=wave_facts),
    }


FOUR: list[tuple[str, int, str, Callable[[], pd.DataFrame], str, tuple[int, int], str]] = [
    ("mnist_784", 554, "class", _mnist, "classification", (ROWS, 784), "uint8"),
    ("openml:37", 37, "class", lambda: _bundled("diabetes"), "classification", (768, 8), "float64"),
    ("wave_energy", 44975, "energy_total", _wave, "regression", (ROWS, 32), "float64"),
    ("openml:44972", 44972, "quality", lambda: _bundled("red_wine"), "regression", (1599, 11), "float64"),
]


@pytest.mark.parametrize("parquet", [True, False], ids=["parquet", "arff"])
@pytest.mark.parametrize(("name", "openml_id", "target", "frame", "task", "shape", "dtype"), FOUR)
def test_the_four_datasets_load_and_load_again_without_a_request(
    server: OpenMLServer,
    openml: OpenML,
    name: str,
    openml_id: int,
    target: str,
    frame: Callable[[], pd.DataFrame],
    task: str,
    shape: tuple[int, int],
    dtype: str,
    parquet: bool,
) -> None:
    """Either format gives the checked table; the second time it is the master copy that gives it."""
    server.publish(openml_id, "made_up", frame(), target, parquet=parquet)
    first = load(name, source=openml, known=_made_up_facts())
    requests = list(server.log)
    assert any(".pq" in line for line in requests) is parquet
    assert any(".arff" in line for line in requests) is not parquet
    second = load(name, source=openml, known=_made_up_facts())
    assert server.log == requests
    assert (first.source, second.source) == ("openml", "cache")
    for table in (first, second):
        assert (table.target, table.task, table.openml_id) == (target, task, openml_id)
        assert (table.X.shape, table.X.dtype) == (shape, np.dtype(dtype))
        assert not any(column.startswith("power") for column in table.feature_names)
    assert first.digest == second.digest
    assert first.X.tolist() == frame()[list(first.feature_names)].to_numpy().tolist()
    if name.startswith("openml:"):
        assert first.digest == load(first.name).digest


@pytest.mark.parametrize("parquet", [True, False], ids=["parquet", "arff"])
def test_download_ends_at_the_limit_of_bytes(server: OpenMLServer, openml: OpenML, parquet: bool) -> None:
    """A server cannot fill the disk; the sentence says how much is allowed."""
    numbers = np.random.default_rng(0).normal(size=(20_000, 8))
    server.publish(63, "large", pd.DataFrame(numbers, columns=list("abcdefgh")), "a", parquet=parquet)
    with pytest.raises(DownloadError, match=r"^it is larger than 0\.5 MB$"):
        dataclasses.replace(openml, max_bytes=500_000).download(63, echo=lambda line: None)


def test_both_formats_of_any_table_give_the_same_content(server: OpenMLServer, tmp_path: Path) -> None:
    """Categories, truth values and missing values are the same from ARFF and Parquet; so are target and licence."""
    openml = OpenML(server.api, tmp_path)
    server.publish(61, "small", _small(), "label", licence="CC0", ignored=("number",))
    server.publish(62, "small", _small(), "label", licence="CC0", ignored=("number",), parquet=False)
    parquet, arff = (load(f"openml:{number}", source=openml) for number in (61, 62))
    assert parquet.digest == arff.digest
    pd.testing.assert_frame_equal(parquet.frame, arff.frame)
    assert arff.feature_names == ("whole", "kind", "flag")
    assert arff.categories == {"kind": ("a", "b or c"), "flag": ("False", "True")}
    assert (arff.name, arff.target, arff.classes, arff.licence) == ("small", "label", ("1", "2", "3"), "CC0")


def test_another_target_is_taken_from_the_same_copy(server: OpenMLServer, openml: OpenML) -> None:
    """The copy holds OpenML's columns, so a second question about them needs no download."""
    server.publish(61, "small", _small(), None)
    with pytest.raises(UserError) as error:
        load("openml:61", source=openml)
    assert str(error.value) == (
        "dataset=openml:61: the target is not given; name with target= one of the columns whole, number, kind, flag, "
        "label"
    )
    requests = list(server.log)
    table = load("openml:61", target="whole", source=openml)
    assert (table.source, table.task, server.log) == ("cache", "regression", requests)
    assert table.categories["label"] == ("1", "2", "3")


ANSWERED_412 = "the server answered: Database connection error. Usually due to high server load"
SILENT = "the server was silent for 1 s"
SLOW = "fewer than 1000 bytes per second arrived"
MD5 = "the file's MD5 checksum is not the one that OpenML states"
FAULTS: list[tuple[dict[Part, Fault], dict[str, Any], str | None]] = [
    ({"description": "503"}, {}, "the server answered with status 503"),
    ({"description": "412"}, {}, ANSWERED_412),
    ({"description": "silence"}, {}, SILENT),
    ({"description": "truncation"}, {}, "the server broke off"),
    ({"description": "drip"}, {}, SLOW),
    ({"description": "garbage"}, {}, "the server's answer is not what OpenML sends"),
    ({"arff": "503"}, {"parquet": False}, "the server answered with status 503"),
    ({"arff": "silence"}, {"parquet": False}, SILENT),
    ({"arff": "truncation"}, {"parquet": False}, "the server broke off"),
    ({"arff": "drip"}, {"parquet": False}, SLOW),
    ({}, {"parquet": False, "md5": "0" * 32}, MD5),
    ({"parquet": "503"}, {}, None),
    ({"parquet": "silence"}, {}, None),
    ({"parquet": "truncation"}, {}, None),
    ({"parquet": "drip"}, {}, None),
    ({"parquet": "garbage"}, {}, None),
    ({"parquet": "silence", "arff": "silence"}, {}, SILENT),
]


def _name(faults: dict[Part, Fault]) -> str:
    return " ".join(f"{part} {fault}" for part, fault in faults.items()) or "md5"


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of a load while the server had a fault, and of a copy that was kept before."""

    host: str
    seconds: float
    said: str
    kept_is_intact: bool


def _outcome(program: tuple[str, ...], folder: Path, faults: dict[Part, Fault], options: dict[str, Any]) -> Outcome:
    with OpenMLServer(faults=faults) as server:
        openml = OpenML(server.api, folder, timeout_s=1.0, program=program)
        openml.keep(Raw(About(5, "kept", "label", "CC0"), _small()), pytest.fail)
        kept = _contents(folder)
        server.publish(61, "small", _small(), "label", **options)
        start = time.monotonic()
        try:
            said = f"loaded from {load('openml:61', source=openml).source}"
        except UserError as error:
            said = str(error.message)
        seconds = time.monotonic() - start
        intact = kept.items() <= _contents(folder).items() and load("openml:5", source=openml).source == "cache"
        return Outcome(openml.host, seconds, said, intact)


@pytest.fixture(scope="module")
def outcomes(program: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    """All faults at once, since most of them is waiting."""
    folders = [tmp_path_factory.mktemp("cache") for _ in FAULTS]
    with ThreadPoolExecutor(len(FAULTS)) as executor:
        found = executor.map(
            partial(_outcome, program),
            folders,
            *zip(*((faults, options) for faults, options, _ in FAULTS), strict=True),
        )
        return dict(zip((_name(faults) for faults, _, _ in FAULTS), found, strict=True))


@pytest.mark.parametrize(("name", "reason"), [(_name(faults), reason) for faults, _, reason in FAULTS])
def test_fault_ends_in_bounded_time_with_a_sentence_or_the_other_format(
    outcomes: dict[str, Outcome], name: str, reason: str | None
) -> None:
    """Nothing hangs; a broken Parquet file is made up for by ARFF; and what was kept before stays as it was."""
    outcome = outcomes[name]
    failed = (
        f"dataset=openml:61: the download from {outcome.host} failed: {reason}; try again later, or give the path of a "
        "CSV or Parquet file"
    )
    assert outcome.said == (failed if reason else "loaded from openml")
    assert outcome.seconds < LIMIT_S
    assert outcome.kept_is_intact


def _contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("fault", ["503", "412", "silence", "truncation", "drip", "garbage"])
def test_copy_is_used_whatever_the_server_has_become(server: OpenMLServer, openml: OpenML, fault: Fault) -> None:
    """An intact copy makes the server's state a matter of indifference: it is not asked."""
    openml.keep(Raw(About(61, "small", "label", "CC0"), _small()), pytest.fail)
    server.faults.update({"description": fault, "parquet": fault, "arff": fault})
    assert load("openml:61", source=openml, echo=pytest.fail).source == "cache"
    assert server.log == []


def test_unknown_id_is_told_from_a_fault(openml: OpenML) -> None:
    """Trying again would not help, so the sentence advises something else."""
    with pytest.raises(UserError) as error:
        load("openml:999", source=openml)
    assert str(error.value) == "dataset=openml:999: OpenML has no dataset of this id; look the id up on openml.org"


def test_server_that_is_not_there_ends_at_once(tmp_path: Path, program: tuple[str, ...]) -> None:
    """No retries: offline, the answer is there as soon as the package is imported."""
    with OpenMLServer() as gone:
        pass
    with pytest.raises(UserError, match="failed: the server cannot be reached; try again later"):
        load("mnist_784", source=OpenML(gone.api, tmp_path, program=program))


@pytest.mark.parametrize("name", ["diabetes", "red_wine"])
def test_bundled_copy_stands_in_for_openml_with_a_line(server: OpenMLServer, openml: OpenML, name: str) -> None:
    """openml:<id> of a bundled table works without OpenML, and says which copy it took."""
    openml_id, lines = KNOWN[name].openml_id, list[str]()
    server.publish(openml_id, name, _bundled(name), load(name).target)
    server.faults["description"] = "503"
    table = load(f"openml:{openml_id}", source=openml, echo=lines.append)
    assert (table.source, table.digest) == ("bundled", load(name).digest)
    assert lines[-1] == (
        f"dataset=openml:{openml_id} cannot be downloaded from {openml.host} (the server answered with status 503): "
        f"the bundled copy of {name} is used"
    )


@pytest.mark.parametrize("name", ["diabetes", "red_wine"])
def test_bundled_names_ask_no_server(server: OpenMLServer, openml: OpenML, name: str) -> None:
    """The bytes of the bundled copy are checked, so its name needs no network."""
    assert load(name, source=openml, echo=pytest.fail).source == "bundled"
    assert server.log == []


def test_table_that_is_not_the_known_one_is_refused_and_not_kept(server: OpenMLServer, openml: OpenML) -> None:
    """Studies by the name of mnist_784 run on mnist_784."""
    server.publish(554, "mnist_784", _mnist(), "class")
    with pytest.raises(UserError) as error:
        load("mnist_784", source=openml)
    assert str(error.value) == (
        f"dataset=mnist_784: what {openml.host} sent is refused: it is not the known table: rows 300 found, 70000 "
        "expected; give the path of your own copy instead"
    )
    assert _contents(openml.cache) == {}


def test_wave_energy_of_another_structure_is_refused(server: OpenMLServer, openml: OpenML) -> None:
    """A leak that is not where it is expected must not be trained on."""
    frame = _wave().rename(columns={"power7": "seventh"})
    server.publish(44975, "wave_energy", frame, "energy_total")
    with pytest.raises(UserError, match=r"is refused: 15 columns with the power of one converter found .* 16 expected"):
        load("wave_energy", source=openml, known=_made_up_facts())
    assert _contents(openml.cache) == {}


def _flip_a_byte(folder: Path) -> None:
    path = next(folder.glob("*.parquet"))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(content)


def _remove_table(folder: Path) -> None:
    next(folder.glob("*.parquet")).unlink()


def _cut_description(folder: Path) -> None:
    path = folder / "61.json"
    path.chmod(0o644)
    path.write_text(path.read_text()[:30])


def _empty_description(folder: Path) -> None:
    (folder / "61.json").chmod(0o644)
    (folder / "61.json").write_text("{}")


@pytest.mark.parametrize("damage", [_flip_a_byte, _remove_table, _cut_description, _empty_description])
def test_broken_copy_is_ignored_with_a_line(openml: OpenML, damage: Callable[[Path], None]) -> None:
    """Whatever happened to a copy, it is found out and never half used."""
    openml.keep(Raw(About(61, "small", "label", "CC0"), _small()), pytest.fail)
    damage(next(openml.cache.iterdir()))
    lines: list[str] = []
    assert openml.cached(61, lines.append) is None
    assert [line[:42] for line in lines] == ["The cached copy of openml:61 is not used: "]


def test_broken_copy_is_fetched_anew(server: OpenMLServer, openml: OpenML) -> None:
    """The new copy takes the broken one's place."""
    openml.keep(Raw(About(61, "small", "label", "CC0"), _small()), pytest.fail)
    _flip_a_byte(next(openml.cache.iterdir()))
    server.publish(61, "small", _small(), "label")
    assert load("openml:61", source=openml).source == "openml"
    assert load("openml:61", source=openml, echo=pytest.fail).source == "cache"


def test_cached_copy_that_is_not_the_known_table_is_fetched_anew(server: OpenMLServer, openml: OpenML) -> None:
    """A copy with the right checksum of the wrong table does not pass either."""
    openml.keep(Raw(About(37, "diabetes", "class", "x"), _bundled("diabetes").iloc[1:]), pytest.fail)
    server.publish(37, "diabetes", _bundled("diabetes"), "class")
    lines: list[str] = []
    assert load("openml:37", source=openml, echo=lines.append).source == "openml"
    assert "is not used: it is not the known table: rows 767 found, 768 expected" in lines[0]
    assert load("openml:37", source=openml, echo=pytest.fail).source == "cache"


def test_copy_is_read_only_and_alone(openml: OpenML) -> None:
    """A newer copy replaces the older one, and no temporary file stays."""
    openml.keep(Raw(About(61, "small", "label", "CC0"), _small()), pytest.fail)
    openml.keep(Raw(About(61, "small", "label", "CC0"), _small().iloc[::-1]), pytest.fail)
    files = list(_contents(openml.cache))
    assert sorted(path.suffix for path in files) == [".json", ".parquet"]
    assert {path.stat().st_mode & 0o777 for path in files} == {0o444}


def test_table_is_used_where_no_copy_can_be_kept(server: OpenMLServer, openml: OpenML, tmp_path: Path) -> None:
    """A cache that cannot be written costs a line, not the study."""
    (tmp_path / "file").write_text("")
    lines: list[str] = []
    unwritable = dataclasses.replace(openml, cache=tmp_path / "file")
    server.publish(61, "small", _small(), "label")
    assert load("openml:61", source=unwritable, echo=lines.append).source == "openml"
    assert lines[-1].startswith(f"openml:61 could not be kept in {tmp_path / 'file'}")


def test_progress_shows_seconds_and_megabytes(server: OpenMLServer, openml: OpenML) -> None:
    """A user sees at once what is fetched from where, and then that it goes on."""
    server.publish(61, "small", _small(), "label")
    lines: list[str] = []
    dataclasses.replace(openml, echo_every_s=0.0).download(61, lines.append)
    assert lines[0] == f"Downloading openml:61 from {openml.host}"
    assert all(re.fullmatch(re.escape(lines[0]) + r": \d+ s, \d+\.\d MB", line) for line in lines[1:])
    assert len(lines) > 1


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("""print('{"stage": "connect"}', flush=True); signal.pause()""", "no answer within 0.2 s"),
        ("sys.exit('No module named openml')", "No module named openml"),
        ("os._exit(7)", "the download process ended with 7"),
    ],
    ids=["silent", "failing", "dying"],
)
def test_download_process_that_fails_is_ended_and_told(tmp_path: Path, program: str, reason: str) -> None:
    """What the process cannot bound or say itself, a look-up of a host's name or its own end, is seen from outside."""
    command = (sys.executable, "-c", f"import os, signal, sys; {program}")
    before = psutil.Process().children()
    with pytest.raises(DownloadError) as error:
        OpenML("http://127.0.0.1", tmp_path, timeout_s=0.1, program=command).download(61, str)
    assert str(error.value) == reason
    assert set(psutil.Process().children()) <= set(before)


def test_cache_folder_follows_the_environment() -> None:
    """Our variable first, then the desktop's convention, then its default."""
    assert cache_folder({"MLFLOW_SYSMETRICS_DATA": "/a", "XDG_CACHE_HOME": "/b"}) == Path("/a")
    assert cache_folder({"XDG_CACHE_HOME": "/b"}) == Path("/b/mlflow-sysmetrics-bundle")
    assert cache_folder({}) == Path.home() / ".cache" / "mlflow-sysmetrics-bundle"


def test_source_follows_the_environment(tmp_path: Path) -> None:
    """OpenML's own server unless another one is named."""
    environ = {"MLFLOW_SYSMETRICS_DATA": str(tmp_path)}
    assert OpenML.from_environment(environ).host == "www.openml.org"
    other = {**environ, "MLFLOW_SYSMETRICS_OPENML_SERVER": "http://127.0.0.1:1/api"}
    assert OpenML.from_environment(other) == OpenML("http://127.0.0.1:1/api", tmp_path)


def test_openml_is_imported_by_the_download_alone() -> None:
    """The package takes a second to import, and a study of a bundled table needs none of it."""
    code = "import sys; from entrypoints.datasets.known import load; load('red_wine'); print('openml' in sys.modules)"
    root = Path(__file__).parents[3]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_description_of_a_copy_says_where_it_came_from(openml: OpenML) -> None:
    """Whoever looks into the cache finds the server, the id and the checksum in words."""
    openml.keep(Raw(About(61, "small", "label", "CC0"), _small()), pytest.fail)
    described = json.loads(next(openml.cache.rglob("61.json")).read_text())
    assert described["server"] == openml.server
    assert described["about"] == {"openml_id": 61, "name": "small", "target": "label", "licence": "CC0"}
