"""Hosts for the tests of the hypervisor: an image with a small web server, and looking at what becomes of them."""

import sys
import textwrap
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from sandbox.world import Sandbox
from testing.eventually import eventually

# Answers with its instance's id at /, with what a file `health` says at /health, and holds /hold open until closed.
SERVER = '''
import http.server, os, socket, sys
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        code, body = 200, os.environ["INSTANCE_ID"]
        if self.path == "/health" and os.path.exists("health"):
            code = int(open("health").read())
        if self.path == "/pid":
            body = str(os.getpid())
        if self.path == "/peer":
            body = self.client_address[0]
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())
    def log_message(self, *words):
        pass
http.server.ThreadingHTTPServer.request_queue_size = 100
http.server.ThreadingHTTPServer((os.environ["ADDRESS"], int(sys.argv[1])), Handler).serve_forever()
'''
PORT = 8080
IMAGE = "ami-0123456789abcdef1"


def add_image(world: Sandbox, folder: Path, image: str = IMAGE, **more: str) -> None:
    """Make `image` hosts with a service `web` on PORT, and `more` services."""
    script = folder / "web.py"
    script.write_text(textwrap.dedent(SERVER))
    world.image(image, {"web": f"exec {sys.executable} -S {script} {PORT}", **more})


def launch(world: Sandbox, region: str, count: int = 1, image: str = IMAGE, **more: Any) -> list[str]:
    """Instances that answer at PORT; their ids."""
    made = world.client("ec2", region).run_instances(ImageId=image, MinCount=count, MaxCount=count, **more)
    ids = [instance["InstanceId"] for instance in made["Instances"]]
    for one in ids:
        eventually(lambda one=one: state(world, region, one) == "running")  # type: ignore[misc]
        eventually(lambda one=one: get(address(world, region, one)) == one)  # type: ignore[misc]
    return ids


def instance(world: Sandbox, region: str, one: str) -> Any:
    """The instance as DescribeInstances shows it."""
    found = world.client("ec2", region).describe_instances(InstanceIds=[one])
    return found["Reservations"][0]["Instances"][0]


def state(world: Sandbox, region: str, one: str) -> str:
    """Its state's name."""
    return str(instance(world, region, one)["State"]["Name"])


def address(world: Sandbox, region: str, one: str) -> str:
    """Its private address."""
    return str(instance(world, region, one)["PrivateIpAddress"])


def checks(world: Sandbox, region: str, one: str) -> tuple[str, str]:
    """Status of the instance and of its system."""
    found = world.client("ec2", region).describe_instance_status(InstanceIds=[one], IncludeAllInstances=True)
    status = found["InstanceStatuses"][0]
    return status["InstanceStatus"]["Status"], status["SystemStatus"]["Status"]


def get(host: str, path: str = "/", port: int = PORT, seconds: float = 5.0) -> str:
    """The answer's body; empty when there is none, or an error."""
    try:
        with urllib.request.urlopen(f"http://{host}:{port}{path}", timeout=seconds) as answer:
            return str(answer.read().decode())
    except (OSError, urllib.error.HTTPError):
        return ""


def disk(world: Sandbox, region: str, one: str) -> Path:
    """The folder that is the instance's disk, from what its service says of itself."""
    pid = int(get(address(world, region, one), "/pid"))
    return Path(f"/proc/{pid}/cwd").resolve()
