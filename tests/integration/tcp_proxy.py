"""A TCP proxy on the loopback address, between a client and the mesh: it records every byte, and can withhold some.

The SDK signs the authority of the address that it was given, so the mesh sees the proxy's.
"""

import contextlib
import socket
import threading

BLOCK_BYTES = 1 << 16
LOOPBACK = "127.0.0.1"


class Proxy:
    """Forwards connections to `port`; as a context manager it ends them all.

    Args:
        port: of the server.
        let_request: called with the bytes that a client has sent and is about to have forwarded; returns what to forward.
        let_answer: the same for the server's answers. Whatever either raises ends the connection without another byte.
    """

    def __init__(self, port, *, let_request=bytes, let_answer=bytes):
        self._server_port = port
        self._let_request, self._let_answer = let_request, let_answer
        self.sent = bytearray()
        self.received = bytearray()
        self._threads = []
        self._sockets = []
        self._lock = threading.Lock()
        self._listener = socket.create_server((LOOPBACK, 0))

    @property
    def url(self):
        """Where clients find it."""
        return f"http://{LOOPBACK}:{self._listener.getsockname()[1]}"

    def __enter__(self):
        self._start(self._accept)
        return self

    def __exit__(self, *_):
        # accept() returns when the socket is shut down, not when it is closed
        self._listener.shutdown(socket.SHUT_RDWR)
        for one in self._sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for one in (self._listener, *self._sockets):
            one.close()

    def _start(self, target, *arguments):
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self._sockets.append(client)
            try:
                server = socket.create_connection((LOOPBACK, self._server_port))
            except OSError:
                client.shutdown(socket.SHUT_RDWR)
                continue
            self._sockets.append(server)
            self._start(self._pump, client, server, self.sent, self._let_request)
            self._start(self._pump, server, client, self.received, self._let_answer)

    def _pump(self, source, target, record, let):
        """Forward until one side has ended; then both end."""
        try:
            with contextlib.suppress(OSError):
                while block := source.recv(BLOCK_BYTES):
                    with self._lock:
                        record += block
                    target.sendall(let(block))
        finally:
            for one in (source, target):
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
