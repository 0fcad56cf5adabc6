"""The first process of an instance. It keeps its services running, answers `systemctl`, and runs the commands of
Systems Manager.

Started as `python -m sandbox.compute.supervisor` with one JSON object as the first line of standard input.
On standard output `{"ready": true}`, then one line for each command that ended. When standard input closes, the server
has gone, and everything of the instance goes too. The standard library only, so that an instance boots in no time.
"""

import json
import socket
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

from sandbox import processes
from sandbox.compute import scripts
from sandbox.compute.services import Service, ServiceError

# The socket's name inside the instance's folder: a whole path can be longer than a Unix socket may have.
CONTROL = "control"
_VERBS = {"start": Service.start, "stop": Service.stop, "restart": Service.restart}


class Supervisor:
    """All that runs in one instance. `boot` has mark, folder, environment, services (name -> command line)."""

    def __init__(self, boot: dict[str, Any]) -> None:
        self._boot = boot
        self._out = threading.Lock()
        self.services = {name: Service(name, command, boot["mark"], boot["environment"], Path(boot["folder"]))
                         for name, command in boot["services"].items()}

    def run(self) -> None:
        """Start everything and do what standard input asks for, until it closes."""
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        Path(CONTROL).unlink(missing_ok=True)
        listener.bind(CONTROL)
        listener.listen()
        threading.Thread(target=self._answer_all, args=(listener,), daemon=True).start()
        threading.Thread(target=processes.reap, daemon=True).start()
        for service in self.services.values():
            service.start()
        self._say({"ready": True})
        for line in sys.stdin:
            self._order(json.loads(line))

    def shut_down(self) -> None:
        """Stop every service as a shutting-down system does, all at once."""
        stopping = [threading.Thread(target=service.stop) for service in self.services.values()]
        for thread in stopping:
            thread.start()
        for thread in stopping:
            thread.join()

    def _order(self, order: dict[str, Any]) -> None:
        if order["do"] == "run":
            threading.Thread(target=self._run_script, args=(order,), daemon=True).start()
        else:
            self.shut_down()
            self._say({"down": True})

    def _run_script(self, order: dict[str, Any]) -> None:
        own = {"LAMPLIGHTER_WORLD": f"{self._boot['mark']}/-/{order['id']}/"}
        environment = self._boot["environment"] | order["environment"] | own
        self._say({"id": order["id"]} | scripts.run(order, environment, Path(self._boot["folder"])))

    def _say(self, what: dict[str, Any]) -> None:
        with self._out:
            sys.stdout.write(json.dumps(what) + "\n")
            sys.stdout.flush()

    def _answer_all(self, listener: socket.socket) -> None:
        while True:
            connection = listener.accept()[0]
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        # Whoever asked may be gone by now: the service that it restarted may have been its own.
        with connection, connection.makefile("rw") as stream, suppress(BrokenPipeError):
            code, text = self.systemctl(json.loads(stream.readline()))
            stream.write(json.dumps({"code": code, "text": text}))

    def systemctl(self, words: list[str]) -> tuple[int, str]:
        """Exit status and output of `systemctl WORDS`, as systemctl(1) has them for what an instance knows."""
        asked = [word for word in words if not word.startswith("-")]
        verb, names = (asked[0] if asked else ""), [name.removesuffix(".service") for name in asked[1:]]
        unknown = [name for name in names if name not in self.services]
        if verb not in (*_VERBS, "status", "is-active") or not names:
            return 1, f"systemctl: this one takes start, stop, restart, status and is-active, with a NAME, not {words}"
        if unknown and verb != "is-active":
            # 4 for status, 5 for the others: "no such unit" in the LSB's exit codes.
            return (4 if verb == "status" else 5), f"Unit {unknown[0]}.service not found."
        return self._do(verb, names, "--quiet" in words or "-q" in words)

    def _do(self, verb: str, names: list[str], quiet: bool) -> tuple[int, str]:
        found = [self.services.get(name) for name in names]
        if verb in _VERBS:
            return _act(verb, [service for service in found if service])
        states = ["active" if service and service.active() else "inactive" for service in found]
        text = "\n".join(states if verb == "is-active" else
                         [f"{name}.service\n     Active: {state}" for name, state in zip(names, states, strict=True)])
        # is-active: 0 when one is; status: 3 when one is not running.
        good = "active" in states if verb == "is-active" else "inactive" not in states
        return (0 if good else 3), "" if quiet and verb == "is-active" else text


def _act(verb: str, services: list[Service]) -> tuple[int, str]:
    try:
        for service in services:
            _VERBS[verb](service)
    except ServiceError as error:
        return 1, str(error)
    return 0, ""


def main() -> int:
    """Run until standard input closes, then end all that descends from this process."""
    processes.adopt()
    boot = json.loads(sys.stdin.readline())
    try:
        Supervisor(boot).run()
    finally:
        processes.end(boot["mark"], adopted=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
