"""A PostgreSQL server for tests, of the system's own packages."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp

import pytest

USER = "postgres"  # the server refuses to run as root


class Server:
    """A server with its data in a folder of its own, on a free port of this machine."""

    def __init__(self, binaries: Path):
        self.binaries = binaries
        self.folder = Path(mkdtemp(prefix="mmgan-", dir="/tmp"))  # a socket's path is short
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"postgresql+psycopg://{USER}@127.0.0.1:{self.port}/{USER}"
        if os.geteuid() == 0:
            shutil.chown(self.folder, USER)
        self._run("initdb", "-A", "trust", "-U", USER, "-D", f"{self.folder}/data")

    def start(self) -> None:
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={self.folder} -c fsync=off"
        self._run("pg_ctl", "-w", "-D", f"{self.folder}/data", "-l", f"{self.folder}/log", "-o", options, "start")

    def stop(self) -> None:
        self._run("pg_ctl", "-w", "-D", f"{self.folder}/data", "-m", "immediate", "stop")

    def restart(self, away: float) -> None:
        """Stop the server as a crash would, and start it again after `away` seconds."""
        self.stop()
        time.sleep(away)
        self.start()

    def _run(self, program: str, *words: str) -> None:
        command = [str(self.binaries / program), *words]
        if os.geteuid() == 0:
            command = ["runuser", "-u", USER, "--", *command]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd="/tmp")
        assert done.returncode == 0, f"{program}: {done.stdout}"


@contextmanager
def running_server() -> Iterator[Server]:
    """Run a server for the block; skip the test where there is none to run."""
    pytest.importorskip("psycopg", reason="needs the package psycopg: extra cluster")
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        pytest.skip("needs PostgreSQL: apt-get install postgresql")
    server = Server(found[-1].parent)
    try:
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(server.folder, ignore_errors=True)
