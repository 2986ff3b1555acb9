"""A TCP proxy between a job and its server, which cuts all connections in the middle of what they say."""

import contextlib
import socket
import threading


class Proxy:
    """Listens on a port of its own; `passed` counts the bytes of both directions."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.passed = 0
        self.cuts = 0
        self.dead = False
        """While it is, whoever connects is hung up on."""
        self._cut_at: int | None = None
        self._die = False
        self._guard = threading.Lock()
        self._open: set[socket.socket] = set()
        threading.Thread(target=self._accept, daemon=True).start()

    def cut_after(self, count: int, *, die: bool) -> None:
        """Cuts every connection once so many bytes more have passed; `die` also refuses new ones from then on."""
        with self._guard:
            self._cut_at, self._die = self.passed + count, die

    def close(self) -> None:
        self._listener.close()
        self._hang_up()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return  # closed
            if self.dead:
                client.close()
                continue
            try:
                server = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                client.close()
                continue
            with self._guard:
                self._open |= {client, server}
            for source, sink in ((client, server), (server, client)):
                threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                allowed, cut = self._count(len(data))
                sink.sendall(data[:allowed])
                if cut:
                    self._hang_up()
        self._close(source, sink)

    def _count(self, length: int) -> tuple[int, bool]:
        """How many of the bytes may pass, and whether the line is cut behind them."""
        with self._guard:
            if self._cut_at is None or self.passed + length <= self._cut_at:
                self.passed += length
                return length, False
            allowed = self._cut_at - self.passed
            self.passed, self._cut_at, self.dead = self._cut_at, None, self._die
            self.cuts += 1
            return allowed, True

    def _hang_up(self) -> None:
        with self._guard:
            sockets = list(self._open)
        self._close(*sockets)

    def _close(self, *sockets: socket.socket) -> None:
        for one in sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
            with self._guard:
                self._open.discard(one)
