"""A network between a store and its server that tests cut, at a moment of their choice, or let go silent."""

from __future__ import annotations

import selectors
import socket
import threading
from contextlib import suppress
from typing import Self

_KEY_DATA = b"K\0\0\0\x0c"
"""How the message begins by which a server says which process serves a client."""


class Proxy:
    """Forwards a port of its own to another one, in a thread; with `with`, and closed at its end.

    `cut_before` and `cut_after` look at what a client sends, and cut all connections once it holds what they look for:
    before the server has got it, or after. `is_silent` forwards nothing, without an end that anybody could see.
    """

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.cut_before: bytes | None = None
        self.cut_after: bytes | None = None
        self.is_silent = False
        self.is_down = False
        """Whether new connections are refused."""
        self.cuts = 0
        self._pairs: dict[socket.socket, socket.socket] = {}
        self._clients: set[socket.socket] = set()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._is_over = False
        self._thread = threading.Thread(target=self._run, daemon=True)

    def url(self, database: str = "postgres", user: str = "postgres") -> str:
        """Return the URL of the server as it is reached through here."""
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over = True
        self._thread.join(5)
        self._cut()
        self._selector.close()
        self._listener.close()

    def _run(self) -> None:
        while not self._is_over:
            for key, _ in self._selector.select(0.05):
                if key.fileobj is self._listener:
                    self._accept()
                elif isinstance(key.fileobj, socket.socket) and key.fileobj in self._pairs:
                    self._forward(key.fileobj)

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        try:
            if self.is_down:
                raise ConnectionRefusedError
            server = socket.create_connection(("127.0.0.1", self._target))
        except OSError:
            client.close()
            return
        self._pairs |= {client: server, server: client}
        self._clients.add(client)
        for each in (client, server):
            self._selector.register(each, selectors.EVENT_READ)

    def _forward(self, source: socket.socket) -> None:
        if self.is_silent:
            # what comes is left where it is, and nobody is told
            self._selector.unregister(source)
            return
        try:
            data = source.recv(1 << 16)
        except OSError:
            data = b""
        if not data:
            self._end(source)
            return
        is_of_client = source in self._clients
        if is_of_client and self.cut_before is not None and self.cut_before in data:
            self._cut()
            return
        with suppress(OSError):
            self._pairs[source].sendall(data if is_of_client else self.from_server(data))
        if is_of_client and self.cut_after is not None and self.cut_after in data:
            self._cut()

    def from_server(self, data: bytes) -> bytes:
        """Return what a client gets of what the server has sent."""
        return data

    def _cut(self) -> None:
        self.cuts += 1
        self.cut_before = self.cut_after = None
        for each in list(self._pairs):
            self._end(each)

    def _end(self, one: socket.socket) -> None:
        for each in (one, self._pairs.get(one)):
            if each is not None and self._pairs.pop(each, None) is not None:
                self._clients.discard(each)
                with suppress(KeyError):
                    self._selector.unregister(each)
                each.close()


class Pooler(Proxy):
    """Gives clients a number of its own for the process that serves them, as pgbouncer does."""

    def from_server(self, data: bytes) -> bytes:
        at = data.find(_KEY_DATA)
        number = at + len(_KEY_DATA)
        return data if at < 0 else data[:number] + b"\0\0\0\1" + data[number + 4 :]
