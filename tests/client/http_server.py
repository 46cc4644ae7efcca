"""The simulated mesh behind a real socket on loopback, for what only a socket shows: lengths, blocks, closed connections."""

import contextlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx

from tests.client import mesh_simulation
from tests.client.mesh_simulation import SimulatedMesh


@contextlib.contextmanager
def serving(mesh: SimulatedMesh, monkeypatch) -> Iterator[str]:
    """Yields the mesh's address."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def carry_out(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            url = f"http://{self.headers['Host']}{self.path}"
            answer = mesh.handle(httpx.Request(self.command, url, headers=dict(self.headers), content=body))
            content = answer.read()
            self.send_response(answer.status_code)
            for name, value in answer.headers.items():
                if name.lower() not in {"content-length", "transfer-encoding"}:
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = do_DELETE = carry_out  # noqa: N815 - the library's names

        def log_message(self, *_arguments: object) -> None:
            """Tests are quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    authority = f"127.0.0.1:{server.server_port}"
    monkeypatch.setattr(mesh_simulation, "AUTHORITY", authority)
    try:
        yield f"http://{authority}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
