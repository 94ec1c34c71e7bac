"""A script without an event loop, as cron runs it: close the sessions that nobody has touched for some days.

    python plain_script.py STORE --days 7

It may run while a service works on the same store.
"""

import argparse
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import fsstore.sync


def close_stale(sessions: fsstore.sync.SessionService, older_than: datetime) -> list[str]:
    """Close what is open and was last updated before that time; return the ids."""
    closed = []
    stale = {"status": {"$in": ["open", "waiting"]}, "updated_at": {"$lt": older_than}}
    for metadata in sessions.list_metadata(stale):
        session_id = metadata["session_id"]
        is_closed = False

        def close(session: dict[str, Any]) -> None:
            nonlocal is_closed
            # somebody may have gone on with it since the list was made
            is_closed = datetime.fromisoformat(session["metadata"]["updated_at"]) < older_than
            if is_closed:
                session["metadata"].update(status="closed", closed_because="stale")

        try:
            sessions.edit_session(session_id, close)
        except fsstore.StorageNotFoundError:
            continue
        if is_closed:
            closed.append(session_id)
    return closed


def main() -> None:
    parser = argparse.ArgumentParser(description="Close the sessions that nobody has touched for some days.")
    parser.add_argument("store")
    parser.add_argument("--days", type=float, default=7)
    arguments = parser.parse_args()

    older_than = datetime.now(UTC) - timedelta(days=arguments.days)
    # a mistyped path is an error, and no new store
    with fsstore.sync.open_sessions(arguments.store, create=False) as sessions:
        closed = close_stale(sessions, older_than)
        counts = Counter(str(metadata.get("status")) for metadata in sessions.list_metadata())
    print(f"closed {len(closed)}:", ", ".join(closed) or "none")
    for status, count in sorted(counts.items()):
        print(f"{status:>10} {count}")


if __name__ == "__main__":
    main()
