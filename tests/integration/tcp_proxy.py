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
        recording: False keeps nothing of what went through, for connections without number.
    """

    def __init__(self, port, *, let_request=bytes, let_answer=bytes, recording=True):
        self._server_port = port
        self._let_request, self._let_answer, self._recording = let_request, let_answer, recording
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
        with self._lock:
            sockets = list(self._sockets)
        for one in sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def _start(self, target, *arguments):
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self._threads = [one for one in self._threads if one.is_alive()]
        self._threads.append(thread)
        thread.start()

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                self._sockets.append(client)
            self._start(self._serve, client)

    def _serve(self, client):
        """One connection, from its beginning to its end."""
        with client, contextlib.suppress(OSError), socket.create_connection((LOOPBACK, self._server_port)) as server:
            arguments = (server, client, self.received, self._let_answer)
            back = threading.Thread(target=self._pump, args=arguments, daemon=True)
            back.start()
            self._pump(client, server, self.sent, self._let_request)
            back.join()
        with self._lock:
            self._sockets.remove(client)

    def _pump(self, source, target, record, let):
        """Forward until one side has ended; then both end."""
        try:
            with contextlib.suppress(OSError):
                while block := source.recv(BLOCK_BYTES):
                    if self._recording:
                        with self._lock:
                            record += block
                    target.sendall(let(block))
        finally:
            for one in (source, target):
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
