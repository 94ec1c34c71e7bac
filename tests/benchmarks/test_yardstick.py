"""The yardstick works: every workload is done, checked and reported. Times are not looked at."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path

import orjson
import pytest
from rich.console import Console

from tests.benchmarks import growth as growing
from tests.benchmarks.__main__ import main
from tests.benchmarks.documents import belongs_to, session
from tests.benchmarks.growth import ONCE, ROWS, grow
from tests.benchmarks.peers import STORES, missing
from tests.benchmarks.peers.ours import Fsstore
from tests.benchmarks.peers.raw import Raw
from tests.benchmarks.peers.store import Store
from tests.benchmarks.picture import GROUPS, PEERS, draw
from tests.benchmarks.report import as_json, print_tables, write_json
from tests.benchmarks.rounds import Plan, Results, Run, Spread
from tests.benchmarks.trial import Amounts, NotDoneError, Workload
from tests.benchmarks.workloads import WORKLOADS

TINY = Amounts(documents=4, batch=8, in_flight=3, page=2, lists=2, processes=2, seconds=0.02, drop_caches=False)
ALONE = [workload for workload in WORKLOADS if workload.group not in ("memory", "processes")]
INSTALLED = [store for store in STORES if missing(store) is None]


class Forgetful(Raw):
    """A store that is very fast."""

    name = "forgetful"

    async def save(self, name: str, session: object) -> None:
        pass


class Nowhere(Raw):
    name = "nowhere"
    modules = ("no_such_library",)


async def measured(
    directory: Path, stores: Sequence[type[Store]], workloads: Sequence[Workload], *, rounds: int = 1
) -> Results:
    plan = Plan(stores=stores, workloads=workloads, sizes_kb=(1,), scales=(40,), amounts=TINY)
    async with Run(plan, directory, lambda _: None) as run:
        await run.rounds(rounds)
        return run.results


async def test_what_leaves_caches_empty_comes_after_all_rounds_of_the_others(tmp_path: Path) -> None:
    workloads = [workload for workload in WORKLOADS if workload.name in ("get", "open and get one", "exists")]
    plan = Plan(stores=[Raw], workloads=workloads, sizes_kb=(1,), scales=(4,), amounts=TINY)
    told: list[str] = []
    async with Run(plan, tmp_path, told.append) as run:
        await run.rounds(2)
    done = [text.partition(" KB, ")[2].partition(",")[0] for text in told]
    assert done == ["get", "exists", "get", "exists", "open and get one", "open and get one"]


@pytest.mark.parametrize("store", INSTALLED, ids=lambda store: str(store.name))
async def test_every_store_does_every_workload_or_says_why_not(store: type[Store], tmp_path: Path) -> None:
    results = await measured(tmp_path, [store], ALONE)

    done = {row.workload.name for row in results.figures}
    refused = {row.workload.name for row in results.refused}
    assert done | refused == {workload.name for workload in ALONE}
    assert all(figures[store.name][0] > 0 for figures in results.figures.values())
    assert {
        "save new",
        "save over existing",
        "update one field",
        "delete",
        "get",
        "exists",
        "list sessions (50)",
    } <= done


async def test_processes_are_measured_too(tmp_path: Path) -> None:
    workloads = [
        workload for workload in WORKLOADS if workload.name in ("memory of streaming all", "one process saves")
    ]

    results = await measured(tmp_path, [Fsstore], workloads)

    assert sorted(row.title for row in results.figures) == [
        "memory of streaming all, of 40",
        "one process saves",
        "one process saves, durable",
    ]


async def test_a_store_that_does_not_do_the_work_is_found_out(tmp_path: Path) -> None:
    with pytest.raises(NotDoneError, match="forgetful: s-0000000 is not there"):
        await measured(tmp_path, [Forgetful], WORKLOADS[:1])


async def test_ratios_are_taken_within_a_round(tmp_path: Path) -> None:
    (get,) = (workload for workload in WORKLOADS if workload.name == "get")
    results = await measured(tmp_path, [Fsstore, Raw], [get], rounds=2)
    (row,) = results.figures

    results.figures[row] = {"fsstore": [10.0, 30.0], "raw": [20.0, 10.0]}

    assert results.ratio(row, "raw") == Spread(1.75, 0.5, 3.0)


async def test_a_peer_that_is_not_installed_is_named_with_the_reason(tmp_path: Path) -> None:
    results = await measured(tmp_path, [Raw, Nowhere], WORKLOADS[:1])
    printed = io.StringIO()

    print_tables(results, Console(file=printed, width=200))

    assert list(results.absent) == ["nowhere"]
    assert "could not run nowhere: No module named 'no_such_library'" in printed.getvalue()
    assert "no_such_library" in as_json(results, {})["absent"]["nowhere"]


def test_the_command_prints_tables_and_writes_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "figures.json"
    arguments = ["--rounds", "2", "--documents", "4", "--scale", "20", "--sizes", "1", "--peers", "raw"]

    main([*arguments, "--workloads", "get,count", "--directory", str(tmp_path), "--json", str(target)])

    printed, told = capsys.readouterr().out, json.loads(target.read_text(encoding="utf-8"))
    assert "fsstore / peer" in printed
    assert "raw: open, write, os.replace" in printed
    assert {(row["workload"], *sorted(row["stores"])) for row in told["rows"]} >= {("get", "fsstore", "raw")}
    assert all(len(store["rounds"]) == 2 for row in told["rows"] for store in row["stores"].values())

    main(["--read", str(target), "--peers", "raw"])
    assert capsys.readouterr().out == printed


def test_one_workload_can_be_run_alone_for_a_while(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--only", "fsstore", "--workloads", "get", "--documents", "2", "--scale", "2", "--seconds", "0.01"])

    assert "fsstore" in capsys.readouterr().out


@pytest.mark.parametrize("size_kb", [1, 8, 64])
def test_sessions_have_the_size_they_are_called_by(size_kb: int) -> None:
    size = len(orjson.dumps(session(17, size_kb)))

    assert (size_kb << 10) - 600 < size <= size_kb << 10
    assert session(17, size_kb) == session(17, size_kb)


def test_one_session_in_twenty_is_of_each_status_and_user() -> None:
    kinds = [belongs_to(number) for number in range(40)]

    assert {kinds.count(kind) for kind in kinds} == {2}


async def test_the_picture_shows_how_lists_and_appends_grow(tmp_path: Path) -> None:
    results = await measured(tmp_path, [Fsstore, Raw], WORKLOADS[:1])
    write_json(tmp_path / "results.json", results, {})
    (tmp_path / "growth.json").write_text(
        '{"1000": {"list sessions": [20.0, 30.0, 40.0]}, "10000": {"list sessions": [50.0]}}'
    )
    (tmp_path / "appends.json").write_text(
        '{"10": {"append": [0.7]}, "5000": {"append": [3.0]}, "100": {"append": [0.8]}}'
    )
    options = {
        "--read": "results.json",
        "--growth": "growth.json",
        "--appends": "appends.json",
        "--plot": "picture.svg",
    }
    main([word for option, name in options.items() for word in (option, str(tmp_path / name))])

    drawn = (tmp_path / "picture.svg").read_text()
    for text in ("list of 50 among so many sessions", "10 000", "append to so many messages"):
        assert text in drawn
    assert "5 000" not in drawn


async def test_equal_results_give_equal_pictures(tmp_path: Path) -> None:
    results = await measured(tmp_path, [Fsstore, Raw], WORKLOADS[:1])
    growth = {"list": {1000: 20.0, 10_000: 21.0}, "get": {1000: 4.0, 10_000: 5.0}}
    for name in ("a.svg", "b.svg"):
        draw(results, tmp_path / name, growth)

    drawn = (tmp_path / "a.svg").read_bytes()
    assert drawn == (tmp_path / "b.svg").read_bytes()
    for text in ("save, durable", "files, called directly", "1/8", "10 000"):
        assert text.encode() in drawn


def test_the_picture_draws_workloads_and_peers_that_there_are() -> None:
    workloads = {workload.name for workload in WORKLOADS}
    assert {line.workload for lines in GROUPS.values() for line in lines} <= workloads
    assert PEERS.keys() <= {store.name for store in STORES}


async def test_what_grows_is_measured_at_each_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growing, "_SETTLE_SECONDS", 0.1)
    monkeypatch.setattr(growing, "_IDLE_SECONDS", 0.1)
    told = await grow(tmp_path / "store", [30, 20], 2, lambda _: None)

    assert list(told) == [20, 30]
    for figures in told.values():
        assert figures.keys() == ROWS.keys()
        assert all(len(values) == (1 if row in ONCE else 2) for row, values in figures.items())
        assert all(min(values) > 0 for values in figures.values())
