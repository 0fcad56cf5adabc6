#!/usr/bin/python3
"""The program lamplighter-keys fetches the login of a tunnel host for the gateway into memory, never onto a disk.

    lamplighter-keys boot            the current key, the gateway's host keys, and the way to the primary
    lamplighter-keys reload          the key that is to come, if there is one, once every gateway has let it in
    lamplighter-keys point REGION    the same by the way to the primary in REGION, whose gateway alone must let it in
    lamplighter-keys check-former-key    that no gateway lets the key in that was current before

The private key comes from Secrets Manager, the host keys and the primary's region from parameters of Systems Manager,
the ways to it from /etc/lamplighter/ways. All into $RUNTIME_DIRECTORY (/run/lamplighter), which is memory. An open
tunnel keeps running, because all that matters only when ssh connects. Prints `version=ID`, and `gateway=REGION` for
each gateway that did as it should. The status is 3 when a gateway, or the database behind it, does not (yet).

A gateway is each address of its name, since two may stand behind one name, and one of them may let nobody in.

Beside it stands handshake.py. It needs Python 3.9 and the AWS CLI, as Amazon Linux 2023 has them. No key is printed
or put on a command line.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

_FOLDER = "/run/lamplighter"
_SETTINGS = "/etc/lamplighter/tunnel.env"
_SSH_CONFIG = "/etc/lamplighter/ssh_config"
_LIBRARY = "/usr/local/lib/lamplighter"
_CALL_SECONDS, _TRY_SECONDS = 20, 15
_PLACED = ("known_hosts", "way.env", "key")


class Problem(Exception):
    """It cannot go on. `status` is what the program ends with."""

    def __init__(self, text: str, status: int = 1) -> None:
        super().__init__(text)
        self.status = status


class Denied(Problem):
    """The gateway answers and does not let the key in."""


def boot(settings: dict[str, str], folder: Path) -> str:
    """The gateway's host keys, the way and the current key are in place. The version of the key."""
    _write(folder / "known_hosts", _host_keys(settings))
    _write(folder / "way.env", _way(settings, _primary(settings)))
    return _place(folder / "key", *_wanted(settings, "AWSCURRENT"))


def reload(settings: dict[str, str], folder: Path) -> str:
    """As `boot`, but with the key that is to come, if there is one. Every gateway must let it in, since each may be the
    next one, and the one in use must lead to the database."""
    return _tried(settings, folder, (folder / "way.env").read_text(), _gateways(settings))


def point(settings: dict[str, str], folder: Path, region: str) -> str:
    """The key that is to come by the route to the primary in another region, which must lead to the database. The
    caller then restarts the tunnel. No other gateway is asked, because the former primary's may be gone."""
    primary = _primary(settings)
    if region != primary:
        raise Problem(f"the parameter {settings['PRIMARY_PARAMETER']} says {primary} yet, not {region}", 3)
    return _tried(settings, folder, _way(settings, primary), {})


def check_former_key(settings: dict[str, str], folder: Path) -> str:
    """Every gateway denies the key that was current before. The version of that key, `none` if no key was."""
    former = _key(settings, "AWSPREVIOUS")
    try:
        _write(folder / "known_hosts.next", _host_keys(settings))
        version = _place(folder / "key.next", *former) if former else "none"
        for region, gateway in _gateways(settings).items():
            for address in _addresses(gateway) if former else ():
                try:
                    _try(gateway, address, folder, ask=False)
                except Denied:
                    continue
                raise Problem(f"the gateway {_named(gateway, address)} still lets the former key in", 3)
            print(f"gateway={region}")
    finally:
        _clear(folder)
    return version


def _tried(settings: dict[str, str], folder: Path, way: str, gateways: dict[str, dict[str, str]]) -> str:
    try:
        _write(folder / "known_hosts.next", _host_keys(settings))
        _write(folder / "way.env.next", way)
        version = _place(folder / "key.next", *_wanted(settings, "AWSPENDING", "AWSCURRENT"))
        used = {**settings, **_read(folder / "way.env.next")}
        for region, gateway in {**gateways, used["PRIMARY"]: used}.items():
            for address in _addresses(gateway):
                _try(gateway, address, folder, ask=gateway is used)
            print(f"gateway={region}")
        for name in _PLACED:
            (folder / f"{name}.next").replace(folder / name)
    finally:
        _clear(folder)
    return version


def _clear(folder: Path) -> None:
    for name in (*(f"{name}.next" for name in _PLACED), "try"):
        if (folder / name).exists():
            (folder / name).unlink()


def _gateways(settings: dict[str, str]) -> dict[str, dict[str, str]]:
    """The settings that lead to each gateway that this host knows, by the gateway's region."""
    ways = sorted((_settings_path().parent / "ways").glob("*.env"))
    return {settings["PRIMARY"]: settings, **{path.stem: {**settings, **_read(path)} for path in ways}}


def _addresses(gateway: dict[str, str]) -> list[str]:
    """All addresses behind the gateway's name, those of IPv4 where it has any."""
    try:
        found = socket.getaddrinfo(gateway["GATEWAY"], int(gateway["GATEWAY_PORT"]), type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        raise Problem(f"the gateway {gateway['GATEWAY']} has no address: {error}", 3) from None
    old = {str(place[0]) for family, _, _, _, place in found if family == socket.AF_INET}
    return sorted(old or {str(place[0]) for _, _, _, _, place in found})


def _named(gateway: dict[str, str], address: str) -> str:
    name = gateway["GATEWAY"]
    return name if name == address else f"{name} ({address})"


def _primary(settings: dict[str, str]) -> str:
    """The region that the primary is in, as the controller has it, or as this host was launched for until it has."""
    if not settings.get("PRIMARY_PARAMETER"):
        return settings["PRIMARY"]
    answer = _aws(settings, "ssm", "get-parameter", "--name", settings["PRIMARY_PARAMETER"], absent="ParameterNotFound")
    return str(answer["Parameter"]["Value"]) if answer else settings["PRIMARY"]


def _way(settings: dict[str, str], region: str) -> str:
    """Settings that lead to the primary in a region. Few if it is where it was when this host was launched."""
    if region == settings["PRIMARY"]:
        return f"PRIMARY={region}\n"
    path = _settings_path().parent / "ways" / f"{region}.env"
    if not path.exists():
        raise Problem(f"this host knows no way to {region}, since it is older than the one in fleet.toml. Replace it")
    return f"PRIMARY={region}\n{path.read_text()}"


def _wanted(settings: dict[str, str], *stages: str) -> tuple[str, str]:
    """The first key there is with one of these labels, and its version."""
    for stage in stages:
        found = _key(settings, stage)
        if found:
            return found
    raise Problem(f"the secret {settings['SECRET']} holds no key yet. Run the operation tunnels.rotate_keys")


def _try(settings: dict[str, str], address: str, folder: Path, ask: bool) -> None:
    """Build a second tunnel with what came, and ask the database through it. `Denied` or `Problem` (status 3) if it is
    no good."""
    way, name = folder / "try", _named(settings, address)
    # The configuration names no key: with the old one beside it the new one would never be put to the test.
    words = ["ssh", "-F", os.environ.get("LAMPLIGHTER_SSH_CONFIG", _SSH_CONFIG), "-N", "-T", "-n",
             "-i", str(folder / "key.next"), "-o", f"UserKnownHostsFile={folder / 'known_hosts.next'}",
             "-o", f"HostKeyAlias={settings['ALIAS']}",
             "-o", "StreamLocalBindUnlink=yes", "-L", f"{way}:{settings['DATABASE']}:{settings['DATABASE_PORT']}",
             "-p", settings["GATEWAY_PORT"], f"{settings['GATEWAY_USER']}@{address}"]
    if way.exists():
        way.unlink()
    ssh = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        _await(way, ssh, name)
        found = _ask(way) if ask else None
    finally:
        ssh.kill()
        ssh.communicate()
    if found and found.side != "up":
        raise Problem(f"the gateway {name} lets this key in, but the database is {found.side}: {found.why} "
                      f"{found.said}", 3)


def _await(way: Path, ssh: subprocess.Popen[bytes], gateway: str) -> None:
    """Until ssh has logged in, and so listens."""
    deadline = time.monotonic() + _TRY_SECONDS
    while not way.exists():
        if ssh.poll() is not None:
            said = ssh.stderr.read().decode(errors="replace") if ssh.stderr else ""
            kind = Denied if "Permission denied" in said else Problem
            raise kind(f"the gateway {gateway} does not let this key in: {said.strip()[-300:]}", 3)
        if time.monotonic() > deadline:
            raise Problem(f"the gateway {gateway} did not answer in {_TRY_SECONDS} s", 3)
        time.sleep(0.05)


def _ask(way: Path) -> Any:
    """One polite probe, with the result of `handshake.Handshake`."""
    sys.path.insert(0, os.environ.get("LAMPLIGHTER_LIB", _LIBRARY))
    from handshake import LONGEST, Handshake  # type: ignore[import-not-found]

    handshake = Handshake()
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(_TRY_SECONDS)
        connection.connect(str(way))
        try:
            while handshake.found is None:
                data = connection.recv(LONGEST)
                if not data:
                    return handshake.connection_closed()
                connection.sendall(handshake.data_received(data))
        except socket.timeout:  # noqa: UP041 - not yet Python's own in 3.9
            return handshake.timed_out()
        except ConnectionError:
            return handshake.connection_reset()
    return handshake.found


def _key(settings: dict[str, str], stage: str) -> tuple[str, str] | None:
    """The private key with this label and its version. `None` if there is none."""
    answer = _aws(settings, "secretsmanager", "get-secret-value", "--secret-id", settings["SECRET"],
                  "--version-stage", stage, absent="ResourceNotFoundException")
    return (answer["SecretString"], answer["VersionId"]) if answer.get("SecretString") else None


def _host_keys(settings: dict[str, str]) -> str:
    return str(_parameter(settings, settings["KNOWN_HOSTS"]))


def _parameter(settings: dict[str, str], name: str) -> Any:
    return _aws(settings, "ssm", "get-parameter", "--name", name)["Parameter"]["Value"]


def _aws(settings: dict[str, str], *words: str, absent: str = "nothing") -> dict[str, Any]:
    """The answer of one call by the AWS CLI. Empty when it fails with the error `absent`."""
    command = ["aws", *words, "--region", settings["REGION"], "--output", "json",
               "--cli-connect-timeout", "5", "--cli-read-timeout", "5"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_CALL_SECONDS)
    except subprocess.TimeoutExpired:
        raise Problem(f"aws {words[0]} {words[1]}: no answer in {_CALL_SECONDS} s") from None
    if done.returncode and f"({absent})" in done.stderr:
        return {}
    if done.returncode:
        raise Problem(f"aws {words[0]} {words[1]}: {done.stderr.strip()[-300:]}")
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def _place(path: Path, key: str, version: str) -> str:
    _write(path, key if key.endswith("\n") else key + "\n")
    return version


def _write(path: Path, text: str) -> None:
    """All of it or nothing, for the owner's eyes only."""
    half = path.with_name(path.name + ".half")
    if half.exists():
        half.unlink()
    with os.fdopen(os.open(half, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    half.replace(path)


def _step_down(folder: Path) -> None:
    """Root becomes the user that owns the folder, because Systems Manager starts commands as root."""
    owner = folder.stat()
    if os.geteuid() == 0 and owner.st_uid != 0:
        os.setgroups([])
        os.setgid(owner.st_gid)
        os.setuid(owner.st_uid)
        os.environ["HOME"] = str(folder)  # root's is closed to it


def _settings_path() -> Path:
    return Path(os.environ.get("LAMPLIGHTER_SETTINGS", _SETTINGS))


def _read(path: Path) -> dict[str, str]:
    """An environment file."""
    return dict(line.split("=", 1) for line in path.read_text().splitlines() if "=" in line and line[0] != "#")


def main(words: list[str]) -> int:
    """As on the command line. The exit status."""
    acts: dict[str, Any] = {"boot": (boot, 1), "reload": (reload, 1), "point": (point, 2),
                            "check-former-key": (check_former_key, 1)}
    act, count = acts.get(words[0] if words else "", (boot, -1))
    if len(words) != count:
        print("usage: lamplighter-keys boot | reload | point REGION | check-former-key", file=sys.stderr)
        return 2
    folder = Path(os.environ.get("RUNTIME_DIRECTORY", _FOLDER))
    try:
        _step_down(folder)
        print(f"version={act(_read(_settings_path()), folder, *words[1:])}")
    except Problem as problem:
        print(f"lamplighter-keys: {problem}", file=sys.stderr)
        return problem.status
    except (OSError, ValueError, KeyError) as error:
        # Of these none carries what was fetched: ValueError is of settings, and of JSON, whose text it does not quote.
        print(f"lamplighter-keys: {type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
