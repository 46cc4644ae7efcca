"""A real nginx in front of a running mesh, configured by the very file of deploy/: ports and paths are replaced, no rule.

Where there is no nginx the tests that need one are skipped.
"""

import contextlib
import os
import re
import shutil
import socket
import subprocess
import sys

import pytest

from local_stack import ports
from local_stack.mesh import ROOT
from local_stack.processes import Process, Program

CONFIGURATION = ROOT / "deploy" / "nginx.conf"
# not on the PATH of every user
PLACES = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin", "/opt/homebrew/bin"])
BINARY = shutil.which("nginx", path=PLACES)
TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
# before this one the protocol was an argument of `listen`, and names of upstreams were asked for once
HTTP2_DIRECTIVE, RESOLVED_UPSTREAMS = (1, 25, 1), (1, 27, 3)

needed = pytest.mark.skipif(BINARY is None, reason="no nginx on this machine (Debian: apt-get install nginx-light)")


class Nginx:
    """The proxy, and where it is found."""

    def __init__(self, mesh):
        self._mesh = mesh
        self.directory = mesh.directory / "nginx"
        self.port, self._health_port = ports.free_port(), ports.free_port()
        self.certificate = self.directory / "server.crt"
        self.authority = f"{ports.LOOPBACK}:{self.port}"
        self.url = f"https://{self.authority}"

    @contextlib.contextmanager
    def running(self):
        """From its first answer to its end."""
        self._prepare()
        command = (BINARY, "-p", str(self.directory), "-c", str(self.directory / "nginx.conf"), "-e", "stderr")
        program = Program("nginx", (*command, "-g", "daemon off;"))
        process = Process(program, directory=self._mesh.directory, working_directory=self.directory)
        process.start(environment={"PATH": PLACES})
        # so that its log is shown, and looked through, with the others
        self._mesh.processes["nginx"] = process
        try:
            self._mesh.until(lambda: process.is_running() and self._answers(), "nginx answers")
            yield self
        finally:
            del self._mesh.processes["nginx"]
            process.stop()
            shutil.rmtree(self.directory)

    def _prepare(self):
        self.directory.mkdir(mode=0o755)
        (self.directory / "nginx.conf").write_text(self.configuration())
        names = {"ALLOWED_HOSTS": f"localhost,{ports.LOOPBACK}", "BOLTZ_TLS_DIR": str(self.directory)}
        make = [sys.executable, ROOT / "deploy" / "make_certificate.py"]
        subprocess.run(make, env=os.environ | names, check=True, capture_output=True)

    def configuration(self):
        """deploy/nginx.conf at other ports and paths."""
        text = CONFIGURATION.read_text()
        for before, after in self._replacements():
            assert text.count(before) == 1, f"deploy/nginx.conf has {text.count(before)} times {before!r}"
            text = text.replace(before, after)
        return text

    def _replacements(self):
        version = installed_version()
        http2 = "" if version >= HTTP2_DIRECTIVE else " http2"
        yield "listen 8443 ssl;", f"listen {ports.LOOPBACK}:{self.port} ssl{http2};"
        if http2:
            yield "http2 on;", ""
        # an address needs no resolver, which is there in containers only
        yield "server web:8000 resolve;", f"server {ports.LOOPBACK}:{self._mesh.port};"
        if version >= RESOLVED_UPSTREAMS:
            yield "resolver 127.0.0.11 valid=10s;", ""
        yield "listen 127.0.0.1:8081;", f"listen {ports.LOOPBACK}:{self._health_port};"
        yield "pid /tmp/nginx.pid;", f"pid {self.directory / 'nginx.pid'};"
        yield "/tls/server.crt", str(self.certificate)
        yield "/tls/server.key", str(self.directory / "server.key")
        places = "\n".join(f"    {name}_temp_path {self.directory / name};" for name in TEMPORARY)
        yield "http {\n", f"http {{\n{places}\n"

    def _answers(self):
        with contextlib.suppress(ConnectionError), socket.create_connection((ports.LOOPBACK, self._health_port)):
            return True
        return False


def installed_version():
    """Like (1, 22, 1)."""
    said = subprocess.run([BINARY, "-v"], capture_output=True, text=True, check=True).stderr
    return tuple(map(int, re.search(r"nginx/(\d+)\.(\d+)\.(\d+)", said).groups()))


@pytest.fixture
def nginx(mesh):
    """nginx in front of the mesh."""
    with Nginx(mesh).running() as proxy:
        yield proxy


@pytest.fixture
def trusted(nginx, monkeypatch):
    """The same; clients of this process trust its certificate, in the way that the deployment's document says."""
    monkeypatch.setenv("SSL_CERT_FILE", str(nginx.certificate))
    return nginx
