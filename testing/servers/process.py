"""Real programs as peers of a test. They start, are ready after a line of output, stop, and leave no trace."""

import contextlib
import itertools
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self, TypeVar

from testing.addresses import Addresses

# How long a peer may take for anything on a machine under load (s).
PATIENCE = 180.0
# The packages of Debian and Ubuntu that bring all peers.
DEBIAN = "openssh-server mariadb-server haproxy autossh iproute2"
_addresses = Addresses()
# Below those that a system gives to sockets which ask for none (ip_local_port_range).
_ports = itertools.cycle(range(20_000, 32_000))


class PeerError(Exception):
    """A peer did not do what the test is built on. The text has the last lines that it printed."""


class Peer:
    """A program in a session of its own. Leaving the `with` kills it and all that shares its process group."""

    def __init__(self, words: Sequence[str | Path], env: Mapping[str, str] | None = None) -> None:
        self.words = [str(word) for word in words]
        # The last ones: a server that logs each connection must not fill our memory.
        self._lines: deque[str] = deque(maxlen=2_000)
        self._changed = threading.Condition()
        self._ended = False
        # A session of its own: Ctrl-C in the terminal is for the test, which then ends its peers.
        self._process = subprocess.Popen(
            self.words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            errors="replace", start_new_session=True, env={**os.environ, **(env or {})})
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.kill()

    @property
    def pid(self) -> int:
        """The process's id, which is also its group's."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it still runs, or is stopped."""
        return self._process.poll() is None

    @property
    def printed(self) -> str:
        """The last 2,000 lines, of standard output and standard error."""
        with self._changed:
            return "\n".join(self._lines)

    def await_line(self, text: str, seconds: float = PATIENCE) -> str:
        """The first line with `text` in it, as soon as there is one."""
        deadline = time.monotonic() + seconds
        with self._changed:
            while True:
                for line in self._lines:
                    if text in line:
                        return line
                left = deadline - time.monotonic()
                if self._ended or left <= 0:
                    raise PeerError(f"{self.words[0]} never printed {text!r}:\n" + "\n".join(list(self._lines)[-20:]))
                self._changed.wait(left)

    def stop(self) -> None:
        """SIGSTOP for it and all that it started. Returns when it has taken effect."""
        stopped: list[int] = []
        # One that is not stopped yet may start another.
        while stopped != (stopped := family(self.pid)):
            for pid in stopped:
                os.kill(pid, signal.SIGSTOP)
            # In D it is in the kernel, waiting for a disk or a child that it has lent its memory, and stops on leaving.
            _await_states(stopped, "TtDZ")

    def resume(self) -> None:
        """SIGCONT for it and all that it started. Returns when it has taken effect."""
        members = family(self.pid)
        for pid in reversed(members):
            os.kill(pid, signal.SIGCONT)
        _await_states(members, "RSDIZ")

    def end(self, seconds: float = PATIENCE) -> int:
        """SIGTERM, and its exit status once it is gone."""
        self._process.terminate()
        return self.wait(seconds)

    def wait(self, seconds: float = PATIENCE) -> int:
        """Its exit status once it has ended by itself."""
        return self._process.wait(seconds)

    def kill(self) -> None:
        """SIGKILL for all that it started, stopped or not. Returns when it is gone."""
        # sshd's sessions are groups of their own. What is gone already is what we want.
        members = family(self.pid) if self.alive else []
        for pid in members:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait(PATIENCE)
        _await_states(members, "ZX")
        self._reader.join(PATIENCE)
        if self._process.stdout and not self._reader.is_alive():
            self._process.stdout.close()

    def _read(self) -> None:
        for line in self._process.stdout or ():
            with self._changed:
                self._lines.append(line.rstrip("\n"))
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()


def family(pid: int) -> list[int]:
    """A process and all that descend from it, parents first."""
    parents = {int(path.name): _stat(path)[1] for path in Path("/proc").iterdir() if path.name.isdigit()}
    found = [pid]
    for member in found:
        found += [child for child, parent in parents.items() if parent == member]
    return found


def state(pid: int) -> str:
    """The letter that the kernel has for a process, such as T for stopped. Z also if there is none."""
    return _stat(Path(f"/proc/{pid}"))[0]


def _stat(process: Path) -> tuple[str, int]:
    """The state and the parent of a process. A zombie of nobody if it has just gone."""
    try:
        state, parent, *_ = (process / "stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return "Z", 0
    return state, int(parent)


def _await_states(pids: Sequence[int], states: str) -> None:
    """Until each process is in one of `states`: a signal is sent at once, and takes effect a little later."""
    deadline = time.monotonic() + PATIENCE
    for pid in pids:
        while state(pid) not in states:
            if time.monotonic() > deadline:
                raise PeerError(f"process {pid} never came to a state of {states}")
            time.sleep(0.001)  # between two looks, not instead of one


class Server(Protocol):
    """A program that can start again and again. `process` is there once it was."""

    process: Peer

    def start(self) -> None:
        """Returns when it listens."""


AServer = TypeVar("AServer", bound=Server)


@contextlib.contextmanager
def started(server: AServer) -> Iterator[AServer]:
    """Starts `server`. Any process that runs at the end is killed."""
    try:
        server.start()
        yield server
    finally:
        if hasattr(server, "process"):
            server.process.kill()


def missing(*programs: str) -> list[str]:
    """Those of `programs` that this machine does not have. The system's own folders are looked into as well."""
    return [name for name in programs if not find(name)]


def find(program: str) -> str:
    """The path of a program, or an empty text, because servers are in folders that not every PATH names."""
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin", "/sbin"])
    return shutil.which(program, path=path) or ""


def need(*programs: str, root: bool = False) -> None:
    """Skips the test, or the module that says it at its top, where one of `programs` or root is missing."""
    import pytest  # benchmarks use these servers, too, where there may be no pytest

    if lacking := missing(*programs):
        pytest.skip(f"needs {', '.join(lacking)}; apt-get install {DEBIAN}", allow_module_level=True)
    if root and os.geteuid() != 0:
        pytest.skip("needs root, since sshd logs in its own user only, and network namespaces are root's",
                    allow_module_level=True)


def loopback() -> str:
    """A loopback address that no other process on this machine is given, and that is given once."""
    return _addresses.take()


def free_port(address: str) -> int:
    """A TCP port of `address` on which nobody listens. It stays free if the address is from `loopback`."""
    while True:
        port = next(_ports)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((address, port))
            return port


def place() -> tuple[str, int]:
    """An address of its own and a port there, so that no other process listens there."""
    address = loopback()
    return address, free_port(address)
