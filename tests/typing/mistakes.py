"""Mistakes to be planted in the programs beside this file: what stands there, and what a user might write instead."""

from typing import NamedTuple


class Mistake(NamedTuple):
    program: str
    what: str
    right: str
    wrong: str


MISTAKES = [
    # -- options of openings
    Mistake("support_desk", "option with a wrong name", "fsync=False", "fsnc=False"),
    Mistake("support_desk", "option of a wrong type", "lock_timeout_seconds=20", 'lock_timeout_seconds="20"'),
    Mistake("support_desk", "option of a file for a store in memory", 'directory / "desk"', '"memory:"'),
    Mistake("nightly_report", "option of a file for a store in memory", '("memory:")', '("memory:", fsync=False)'),
    Mistake("nightly_report", "option that does not exist", "max_bytes=1_000_000", "max_size=1_000_000"),
    Mistake("nightly_report", "option of a wrong type", "file_mode=0o640", 'file_mode="640"'),
    Mistake("mirror", "option of a file for a store in memory", "clock=fixed_clock", "clock=fixed_clock, max_bytes=1"),
    Mistake("mirror", "option with a function of a wrong type", "clock=fixed_clock", "clock=main"),
    Mistake("mirror", "option with a value that is none of its values", "live=False", 'reconcile="never"'),
    # -- models
    Mistake("support_desk", "attribute that the model lacks", "found.messages.append", "found.mesages.append"),
    Mistake("support_desk", "attribute of the session on its model", "session.version}", "session.data.version}"),
    Mistake("support_desk", "attribute of the model on its session", "session.data.subject", "session.subject"),
    Mistake(
        "support_desk", "model of another class saved", "save(session_id, found)", "save(session_id, found.metadata)"
    ),
    Mistake("nightly_report", "value of a wrong type", "run.title = title", "run.title = run.steps"),
    Mistake("nightly_report", "attribute of an item that it lacks", "step.seconds for", "step.minutes for"),
    Mistake("mirror", "class that is no model", "typed(Profile)", "typed(dict)"),
    Mistake("support_desk", "session that may be None", "first.version if first is not None else 0", "first.version"),
    # -- what is awaited
    Mistake("support_desk", "await that is missing", "in await sessions.list_sessions", "in sessions.list_sessions"),
    Mistake("support_desk", "await that is missing, of a call alone", "await transaction.save(", "transaction.save("),
    Mistake("mirror", "await that is missing, of a list", "ids += await storage", "ids += storage"),
    Mistake("mirror", "await of what is no call", "await files.count(", "await files.guarantees("),
    # -- functions handed in
    Mistake(
        "support_desk", "edit function that takes too much", "edit(session_id, say,", "edit(session_id, hand_over,"
    ),
    Mistake("support_desk", "edit function that returns no model", "edit(session_id, urgent,", "edit(session_id, str,"),
    Mistake(
        "nightly_report",
        "edit function that returns a number",
        "edit_session(run_id, done,",
        "edit_session(run_id, len,",
    ),
    Mistake(
        "nightly_report",
        "edit function for another model",
        "edit(run_id, change)",
        "edit(run_id, lambda run: run.name)",
    ),
    # -- iterations, blocks, keywords, results
    Mistake("support_desk", "field that is no path", 'fields=["session_id"]', "fields=[0]"),
    Mistake("support_desk", "stream without async", "async for batch in tickets", "for batch in tickets"),
    Mistake("support_desk", "batch taken for a session", "found[session.data.metadata", "found[batch.data.metadata"),
    Mistake("support_desk", "transaction without async", "async with tickets", "with tickets"),
    Mistake("nightly_report", "list that is no list", "tail.items:", "tail.items():"),
    Mistake("nightly_report", "keyword with a wrong name", "limit=5", "max=5"),
    Mistake("nightly_report", "position where a keyword is needed", "done, timeout_seconds=5.0", "done, 5.0"),
    Mistake(
        "nightly_report", "argument of a wrong type", 'read_tail(run_id, 2, "steps")', 'read_tail(run_id, "steps", 2)'
    ),
    Mistake("mirror", "a gap taken for a change", "change.dropped", "change.id"),
    Mistake("mirror", "attribute of a report that it lacks", "report.is_clean", "report.ok"),
    Mistake("mirror", "filter that is no mapping", 'count({"type": "session"})', 'count("type=session")'),
    Mistake("mirror", "error that does not exist", "fsstore.StorageNotFoundError", "fsstore.NotFoundError"),
]
"""Each is planted where `right` stands, once, and is to be found in that line."""
