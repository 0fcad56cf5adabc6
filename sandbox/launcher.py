"""The server's process, which is ministack on a free loopback port, changed by `sandbox.emulator_patches`, behind
`sandbox.auth_middleware`.

`sandbox.world` starts it as `python -m sandbox.launcher` with one JSON object (`Order`) as the first line of standard
input, which then stays open. When it closes, the parent has gone, and everything here goes too. Standard output gets
one JSON line, `{"port": ...}`, once requests are taken.
"""

import asyncio
import os
import shutil
import signal
import socket
import sys
import threading
from pathlib import Path
from typing import Any

import msgspec

from sandbox import auth_middleware, dns, emulator_patches, processes
from sandbox.compute.reconciler import Hypervisor
from sandbox.dns import EmbeddedTwin
from sandbox.faults import Faults
from sandbox.triggers import Triggers
from testing.triggers import TriggerModel

# A home for what ministack writes, no listener but ours.
_SETTINGS = {
    "AUTH": "true", "BIND_HOST": "127.0.0.1", "IOT_MTLS_ENABLED": "0", "SFTP_ENABLED": "0", "LOG_LEVEL": "WARNING",
    "LAMBDA_EXECUTOR": "local", "MINISTACK_HOST": "127.0.0.1", "LAMBDA_WARM_TTL_SECONDS": "90",
    # As AWS has it by default. ministack would derive it from this machine's memory.
    "MINISTACK_WORKER_THREADS": "64", "LAMBDA_ACCOUNT_CONCURRENCY": "1000",
}
# So often rules are looked at: they fire within half a second of their time.
_TICK_SECONDS = 0.5


class Order(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The parent's order, with the run's mark, its keys and its secret, and the folder of the run."""

    mark: str
    folder: str
    account: str
    access_key: str
    secret_key: str
    control: str


def main() -> int:
    """Serve until standard input closes or SIGTERM comes. Exit status 0, or 3 if ministack is not the pinned one."""
    processes.adopt()
    order = msgspec.json.decode(sys.stdin.buffer.readline(), type=Order)
    listener = socket.create_server(("127.0.0.1", 0), backlog=512)
    port = listener.getsockname()[1]
    os.environ.update(_SETTINGS | {"GATEWAY_PORT": str(port), "MINISTACK_ACCOUNT_ID": order.account})
    faults = Faults()
    hypervisor = Hypervisor(order.mark, Path(order.folder), faults)
    twin = EmbeddedTwin(port)
    triggers = Triggers(order.mark)
    runtime = str(Path(order.folder) / "runtime")
    try:
        emulator_patches.apply(emulator_patches.Context(
            faults, order.control, order.mark, runtime, twin, hypervisor, triggers))
        _prepare(order)
        emulator_patches.verify()
    except emulator_patches.Moved as moved:
        sys.stderr.write(f"{moved}\n")
        return 3
    try:
        with twin:
            commands = hypervisor.commands() | dns.commands(twin) | _trigger_commands(triggers)
            asyncio.run(_serve(listener, port, order, faults, commands, hypervisor))
    finally:
        _tidy(order)
    return 0


def _prepare(order: Order) -> None:
    """The rules' pace, and the one user of this run with all rights. Ministack's own root keys never pass the gate."""
    from ministack.core.responses import request_scope
    from ministack.services import eventbridge, iam

    eventbridge._SCHEDULER_TICK_INTERVAL = _TICK_SECONDS
    with request_scope(order.account, "us-east-1"):
        iam._create_user({"UserName": ["operator"]})
        iam._attach_user_policy(
            {"UserName": ["operator"], "PolicyArn": ["arn:aws:iam::aws:policy/AdministratorAccess"]})
        iam._access_keys[order.access_key] = {
            "UserName": "operator", "AccessKeyId": order.access_key, "SecretAccessKey": order.secret_key,
            "Status": "Active", "CreateDate": iam._now()}


async def _serve(
    listener: socket.socket, port: int, order: Order, faults: Faults, more: auth_middleware.Commands,
                 hypervisor: Hypervisor
) -> None:
    from hypercorn.asyncio import serve
    from hypercorn.config import Config
    from ministack import app

    config = Config()
    config.bind = [f"fd://{listener.detach()}"]
    config.keep_alive_timeout = 75
    config.loglevel = "WARNING"
    over = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, over.set)
    threading.Thread(target=_watch_parent, args=(loop, over), daemon=True).start()
    commands = auth_middleware.fault_commands(faults) | _region_commands(faults, hypervisor) | more
    door = auth_middleware.AuthMiddleware(
        app.app, order.control, lambda key: _known(key, order), lambda bucket: _home(bucket, order), faults, commands)
    loop.call_later(0, _announce, port)
    serving = asyncio.create_task(serve(door, config, shutdown_trigger=asyncio.Event().wait))  # type: ignore[arg-type]
    ended = asyncio.create_task(over.wait())
    watching = asyncio.create_task(hypervisor.serve())
    await asyncio.wait({serving, ended, watching}, return_when=asyncio.FIRST_COMPLETED)
    if watching.done():
        watching.result()  # it never ends but by failing, and then nothing here is to be trusted any more
    if ended.done():
        _tidy(order)
        # At once: an orderly end loads services only to stop them, and waits for threads that wait for Lambdas.
        os._exit(0)
    await serving


def _announce(port: int) -> None:
    # The listening socket takes connections already; they are answered once start-up is through.
    sys.stdout.write(msgspec.json.encode({"port": port}).decode() + "\n")
    sys.stdout.flush()


def _watch_parent(loop: asyncio.AbstractEventLoop, over: asyncio.Event) -> None:
    while sys.stdin.buffer.read(4096):
        pass
    loop.call_soon_threadsafe(over.set)


def _known(key: str, order: Order) -> bool:
    from ministack.services import sts

    return key == order.access_key or key in sts._sessions


def _home(bucket: str, order: Order) -> str:
    from ministack.core.responses import request_scope
    from ministack.services import s3

    with request_scope(order.account, "us-east-1"):
        return str(s3._buckets[bucket].get("region", "us-east-1")) if bucket in s3._buckets else ""


def _region_commands(faults: Faults, hypervisor: Hypervisor) -> auth_middleware.Commands:
    def stop(asked: dict[str, Any]) -> None:
        faults.stop(asked["region"])
        hypervisor.stop_region(asked["region"])

    return {"stop": stop, "start": lambda asked: faults.start(asked["region"]),
            "stopped": lambda asked: sorted(faults.stopped)}


def _trigger_commands(triggers: Triggers) -> auth_middleware.Commands:
    return {"triggers": lambda asked: triggers.use(msgspec.convert(asked, TriggerModel))}


def _tidy(order: Order) -> None:
    """Leave nothing. End the Lambdas' processes first, then delete the folder of all output."""
    processes.end(order.mark, adopted=True)
    shutil.rmtree(order.folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
