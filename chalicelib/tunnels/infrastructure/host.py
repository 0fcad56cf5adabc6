"""The whole tunnel host as EC2 user data. One script writes the files of agent/ and its settings, and starts it.

It is pure. A fleet and the files go in, a text for CloudFormation's Fn::Sub comes out. The settings stand in it as they
are, for whoever looks at an instance. The files are packed and go without comments, since user data may have 16,384
bytes.
"""

import ast
import base64
import gzip
import io
import tarfile
import tokenize
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from chalicelib import escape
from chalicelib.config import tunnel_hosts as host
from chalicelib.config.tunnel_hosts import Hosts
from chalicelib.config.tunnels import Tunnels
from chalicelib.context import ROOT

# "16 KB, in raw form, before it is base64-encoded": user data, EC2 user guide.
MOST_BYTES = 16_384

UNITS = ("lamplighter-keys.service", "lamplighter-tunnel.service", "lamplighter-tunnel-health.service")
# Where each file goes on the host, and whether it is a program.
_PLACES = {
    "agent/tunnel_keys.py": ("usr/local/bin/lamplighter-keys", True),
    "agent/tunnel_health.py": ("usr/local/lib/lamplighter/tunnel_health.py", False),
    "chalicelib/mysql/handshake.py": ("usr/local/lib/lamplighter/handshake.py", False),
    "agent/ssh_config": ("etc/lamplighter/ssh_config", False),
    **{f"agent/{unit}": (f"etc/systemd/system/{unit}", False) for unit in UNITS},
}
_SCRIPT = """\
#!/bin/bash
# Lamplighter: a tunnel host. Nobody logs in here: no key pair, no sshd. Settings as fleet.toml has them.
set -euo pipefail
systemctl disable --now sshd.service sshd.socket || true
systemctl mask sshd.service sshd.socket
id lamplighter >/dev/null 2>&1 || useradd --system --no-create-home --home-dir / --shell /usr/sbin/nologin lamplighter
mkdir -p /etc/lamplighter/ways
cat >/etc/lamplighter/tunnel.env <<'SETTINGS'
{settings}
SETTINGS
{ways}\
base64 -d <<'FILES' | tar -xz -C / --no-same-owner
{files}
FILES
chmod -R a+rX /etc/lamplighter
systemctl daemon-reload
systemctl enable {units}
systemctl start --no-block {units}
"""


class Settings(msgspec.Struct, frozen=True):
    """The settings of a host, as its environment file has them. A value may hold a placeholder of Fn::Sub, `${...}`."""

    region: str
    secret: str
    known_hosts: str
    primary: str
    primary_parameter: str
    alias: str
    gateway: str
    gateway_port: int
    gateway_user: str
    database: str
    database_port: int
    port: int
    health_port: int
    server: str
    listen: str = "0.0.0.0"  # noqa: S104 - the security group says who may come
    probe: str = "127.0.0.1"


def settings(tunnels: Tunnels, hosts: Hosts, stack: str) -> Settings:
    """Those of a fleet's hosts. Fn::Sub fills in the values that differ from region to region."""
    own, *others = host.primary_routes(hosts, tunnels.primary)
    return Settings(
        region="${AWS::Region}",
        secret=host.private_key_secret(stack),
        known_hosts=host.known_hosts_parameter(stack),
        primary=tunnels.primary,
        primary_parameter=host.primary_region_parameter(stack) if others else "",
        alias=own.alias,
        gateway="${Gateway}",
        gateway_port=hosts.gateway_port,
        gateway_user=hosts.gateway_user,
        database=hosts.database,
        database_port=hosts.database_port,
        port=tunnels.port,
        health_port=tunnels.health_port,
        server=tunnels.server or "",
    )


def ways(tunnels: Tunnels, hosts: Hosts) -> dict[str, dict[str, Any]]:
    """The settings that are others while the primary is in another region than the one of fleet.toml, by that region.
    """
    return {way.region: {"alias": way.alias, **{name: value for name, value in msgspec.to_builtins(way).items()
                                                if name not in ("region", "host_keys")}}
            for way in host.primary_routes(hosts, tunnels.primary)[1:]}


def files(root: Path = ROOT) -> dict[str, bytes]:
    """The files that a host is made of, by their path in the product."""
    found = {path: (root / path).read_bytes() for path in _PLACES}
    return {path: lean(content) if path.endswith(".py") else content for path, content in found.items()}


def lean(source: bytes) -> bytes:
    """A Python file without its comments, docstrings and empty lines. Every line that is left is as it was.

    Lines are only left out, because a rewritten file (`ast.unparse`) might be one that Python 3.9 cannot read.
    """
    lines = source.decode().split("\n")
    kept: dict[int, str] = dict(enumerate(lines, 1))
    for token in tokenize.tokenize(io.BytesIO(source).readline):
        row, column = token.start
        if token.type == tokenize.NL and not lines[row - 1].strip():
            kept.pop(row, None)
        elif token.type == tokenize.COMMENT and not token.string.startswith("#!"):
            kept[row] = lines[row - 1][:column].rstrip()
            if not kept[row]:
                del kept[row]
    for first, last, rest in _docstrings(ast.parse(source)):
        for row in range(first, last + 1):
            kept.pop(row, None)
        if rest:
            kept[first] = rest
    return "\n".join(kept[row] for row in sorted(kept)).rstrip("\n").encode() + b"\n"


def _docstrings(tree: ast.AST) -> Iterator[tuple[int, int, str]]:
    """First and last row of each, and what must stand in its place where the body is nothing else."""
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) or not body:
            continue
        text = body[0]
        if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant) and isinstance(text.value.value, str):
            rest = " " * text.col_offset + "pass" if len(body) == 1 else ""
            yield text.lineno, text.end_lineno or text.lineno, rest


def user_data(tunnels: Tunnels, hosts: Hosts, files: Mapping[str, bytes], stack: str = "${AWS::StackName}") -> str:
    """The script that makes a host of a fresh Amazon Linux 2023, for Fn::Sub. Equal files give an equal text."""
    others = "".join(f"cat >/etc/lamplighter/ways/{region}.env <<'WAY'\n{escape.environment(way)}\nWAY\n"
                     for region, way in ways(tunnels, hosts).items())
    packed = base64.b64encode(_packed(files)).decode()
    wrapped = "\n".join(packed[at:at + 120] for at in range(0, len(packed), 120))
    own = escape.environment(msgspec.to_builtins(settings(tunnels, hosts, stack)))
    return _SCRIPT.format(settings=own, ways=others, files=wrapped, units=" ".join(UNITS))


def _packed(files: Mapping[str, bytes]) -> bytes:
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for path, (place, program) in sorted(_PLACES.items(), key=lambda item: item[1]):
            entry = tarfile.TarInfo(place)
            entry.size, entry.mode = len(files[path]), 0o755 if program else 0o644
            archive.addfile(entry, io.BytesIO(files[path]))
    return gzip.compress(plain.getvalue(), 9, mtime=0)
