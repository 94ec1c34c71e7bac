"""`python -m tests.workflow --sessions 400 --legacy 25 --out sample_data`: write the sample sessions.

Writes OUT/sessions.jsonl, one session a line, and OUT/legacy/<session_id>.json, the old flat layout. Files of an
earlier run are replaced; nothing else in OUT is touched. A minute's work; the same arguments give the same bytes.
"""

import argparse
import json
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from tests.workflow.casting import cast
from tests.workflow.sessions import Session, Stage


def main(arguments: list[str] | None = None) -> int:
    """Hold the conversations and write them; returns the exit status."""
    options = _parser().parse_args(arguments)
    # tracing may be configured in the environment, and would send the conversations away
    os.environ["LANGSMITH_TRACING_V2"] = "false"
    sessions = list(_perform(f"{options.seed} sessions", options.sessions, old_layout=False))
    legacy = list(_perform(f"{options.seed} legacy", options.legacy, old_layout=True))
    _check_distinct([*sessions, *legacy])
    options.out.mkdir(parents=True, exist_ok=True)
    write_lines(options.out / "sessions.jsonl", sessions)
    write_files(options.out / "legacy", legacy)
    sys.stdout.write(f"{len(sessions)} sessions and {len(legacy)} in the old layout, in {options.out}\n")
    return 0


def write_lines(path: Path, sessions: Iterable[Session]) -> None:
    """Write one compact JSON document a line, keys sorted, UTF-8 unescaped."""
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for session in sessions:
            file.write(_encode(session, indent=None) + "\n")


def write_files(folder: Path, sessions: Iterable[Session]) -> None:
    """Write a file per session, named by its id; documents of an earlier run go away."""
    folder.mkdir(exist_ok=True)
    for old in folder.glob("*.json"):
        old.unlink()
    for session in sessions:
        path = folder / f"{session['metadata']['session_id']}.json"
        path.write_text(_encode(session, indent=2) + "\n", encoding="utf-8", newline="\n")


def _perform(seed: str, count: int, *, old_layout: bool) -> Iterator[Session]:
    stage = Stage()
    for casting in cast(seed, count, old_layout=old_layout):
        yield stage.perform(casting)


def _check_distinct(sessions: list[Session]) -> None:
    """Stop when two sessions share an id or a time of update, which tests rely on."""
    for key in ("session_id", "updated_at"):
        values = [session["metadata"][key] for session in sessions]
        if len(set(values)) < len(values):
            message = f"two sessions share a {key}; take another seed"
            raise SystemExit(message)


def _encode(session: Session, *, indent: int | None) -> str:
    separators = (",", ":") if indent is None else (",", ": ")
    return json.dumps(
        session, ensure_ascii=False, allow_nan=False, sort_keys=True, indent=indent, separators=separators
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.workflow", description=__doc__.split("\n")[0])
    parser.add_argument("--sessions", type=int, default=400, help="how many sessions (400)")
    parser.add_argument("--legacy", type=int, default=25, help="how many in the old flat layout (25)")
    parser.add_argument("--out", type=Path, default=Path("sample_data"), help="where to write (sample_data)")
    parser.add_argument("--seed", default="fsstore", help="what all chance is drawn from (fsstore)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
