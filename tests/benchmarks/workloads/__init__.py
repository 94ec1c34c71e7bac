"""What is done with each store: one function a workload, and its place in the report."""

from __future__ import annotations

from tests.benchmarks.trial import Setting, Workload
from tests.benchmarks.workloads import looking, opening, processes, reading, writing

WORKLOADS: tuple[Workload, ...] = (
    Workload(name="save new", group="save", run=writing.save, setting=Setting.EMPTY),
    Workload(name="save over existing", group="save", run=writing.save_over, setting=Setting.HOLDING),
    Workload(
        name="save new (64 in flight)", group="save", run=writing.save_in_flight, setting=Setting.EMPTY, in_flight=True
    ),
    Workload(
        name="save over existing (64 in flight)",
        group="save",
        run=writing.save_over_in_flight,
        setting=Setting.HOLDING,
        in_flight=True,
    ),
    Workload(name="batch (documents)", group="batch", run=writing.batch, setting=Setting.EMPTY),
    Workload(name="update one field", group="update", run=writing.update, setting=Setting.HOLDING),
    Workload(
        name="update one field (64 in flight)",
        group="update",
        run=writing.update_in_flight,
        setting=Setting.HOLDING,
        in_flight=True,
    ),
    Workload(name="delete", group="delete", run=writing.delete, setting=Setting.HOLDING),
    Workload(name="get", group="get", run=reading.get, setting=Setting.FILLED),
    Workload(name="get (64 in flight)", group="get", run=reading.get_in_flight, setting=Setting.FILLED, in_flight=True),
    Workload(name="exists", group="exists", run=reading.exists, setting=Setting.FILLED),
    Workload(name="list metadata (50)", group="list", run=looking.list_metadata, setting=Setting.SCALED),
    Workload(name="list sessions (50)", group="list", run=looking.list_sessions, setting=Setting.SCALED),
    Workload(name="count a status", group="count", run=looking.count, setting=Setting.SCALED),
    Workload(name="open and get one", group="open", run=opening.reopen, setting=Setting.LARGEST, unit="ms", cools=True),
    Workload(
        name="open and get one (new process)",
        group="open",
        run=opening.in_process,
        setting=Setting.LARGEST,
        unit="ms",
        cools=True,
    ),
    Workload(
        name="open and get one (new process and cold caches)",
        group="open",
        run=opening.cold,
        setting=Setting.LARGEST,
        unit="ms",
        cools=True,
    ),
    Workload(
        name="resume: open, get one, list 20 (new process)",
        group="open",
        run=opening.resume,
        setting=Setting.LARGEST,
        unit="ms",
        cools=True,
    ),
    Workload(
        name="resume: open, get one, list 20 (new process and cold caches)",
        group="open",
        run=opening.resume_cold,
        setting=Setting.LARGEST,
        unit="ms",
        cools=True,
    ),
    Workload(
        name="first look at all files",
        group="first-use",
        run=opening.survey,
        setting=Setting.LARGEST,
        unit="ms",
        cools=True,
    ),
    Workload(name="memory of listing 50", group="memory", run=processes.listing, setting=Setting.LARGEST, unit="MB"),
    Workload(
        name="memory of streaming all", group="memory", run=processes.streaming, setting=Setting.LARGEST, unit="MB"
    ),
    Workload(name="one process saves", group="processes", run=processes.alone, setting=Setting.EMPTY, processes=True),
    Workload(
        name="several processes save (sum)",
        group="processes",
        run=processes.together,
        setting=Setting.EMPTY,
        processes=True,
    ),
    Workload(
        name="several processes save (smallest share)",
        group="processes",
        run=processes.smallest_share,
        setting=Setting.EMPTY,
        processes=True,
        unit="of the mean",
    ),
    Workload(name="longest stall", group="stall", run=reading.stall, setting=Setting.FILLED, unit="ms"),
    Workload(
        name="longest stall (cold caches)",
        group="stall",
        run=reading.stall_cold,
        setting=Setting.FILLED,
        unit="ms",
        cools=True,
    ),
)

GROUPS = tuple(dict.fromkeys(workload.group for workload in WORKLOADS))
