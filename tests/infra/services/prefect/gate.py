"""A way to a server that can be shut and opened again: to those who go through it, the server is away."""

import contextlib
import socket
import threading
from typing import Self


class Gate:
    """Passes bytes both ways between a port of its own and the server's.

    Args:
        port: The server's.
    """

    def __init__(self, port: int) -> None:
        self._server = ("127.0.0.1", port)
        self._door = self._listen(0)
        self._open: list[socket.socket] = []
        self.port: int = self._door.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.callers = 0

    def __enter__(self) -> Self:
        threading.Thread(target=self._serve, args=(self._door,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shut()

    def shut(self) -> None:
        """Break what is going on, and refuse what comes."""
        for one in (self._door, *self._open):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        self._open.clear()

    def open(self) -> None:
        """Let callers through again, at the same port."""
        self._door = self._listen(self.port)
        threading.Thread(target=self._serve, args=(self._door,), daemon=True).start()

    @staticmethod
    def _listen(port: int) -> socket.socket:
        return socket.create_server(("127.0.0.1", port))

    def _serve(self, door: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                caller, _ = door.accept()
                self.callers += 1
                server = socket.create_connection(self._server)
                self._open += [caller, server]
                for source, target in ((caller, server), (server, caller)):
                    threading.Thread(target=self._pass, args=(source, target), daemon=True).start()

    @staticmethod
    def _pass(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
