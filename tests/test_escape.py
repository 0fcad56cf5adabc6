"""Values of fleet.toml in scripts, parameters, SQL and templates: shown to their real readers, with hostile text."""

import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from chalicelib import escape
from chalicelib.config import declared, fleet
from chalicelib.infrastructure import template
from chalicelib.mysql import dialect
from chalicelib.schedules.runners import Attempt, ssm
from chalicelib.tunnels.infrastructure import host as tunnel_host
from chalicelib.tunnels.infrastructure import resources
from tests.schedules.harness import SLOT, job
from tests.tunnels.fleets import WAYS

TEXT = WAYS.replace('primary = "us-east-1"', 'primary = "us-east-1"\nserver = "MariaDB"', 1) + """
[databases]
flavour = "mariadb"
primary = "us-east-1"
secret = "db"
heartbeat = "a.b"
ca = "ca.pem"
[[databases.servers]]
region = "us-east-1"
host = "db.internal"
replication_source = "10.0.0.1:3306"
tls_name = "db"
[schedules.ssm]
tag = "role"
value = "web"
"""
# The pieces of which other languages make something else than text.
NASTY = ["\n", "\r", "\0", "'", '"', "`", "$", "${", "${AWS::AccountId}", "${Gateway}", "$(touch PROBE)", ";", "\\",
         " ", "#", "=", "\nSETTINGS\ntouch PROBE\n", "\nWAY\ntouch PROBE\n", "{{ Key }}", "!Ref", "-", "x", "A", "1",
         "\u2028", "\x1b[2J", "*/", "--", "%", "\t", "é"]
HOSTILE = st.lists(st.sampled_from(NASTY), min_size=1, max_size=6).map("".join)
LITERALS = [match.span() for match in re.finditer(r'"[^"]*"', TEXT)]
# What the script runs on a host, as functions that do nothing.
_STUBS = "systemctl() { :; }\nid() { :; }\nuseradd() { :; }\ntar() { cat >/dev/null; }\nchmod() { :; }\n"


def changed(which: int, text: str) -> str:
    start, end = LITERALS[which]
    return TEXT[:start] + json.dumps(text) + TEXT[end:]


def taken(text: str) -> declared.Fleet | None:
    """The fleet, or None if fleet.toml is refused: in one way only, and with the file's name."""
    try:
        return fleet.parse(text, "fleet.toml")
    except fleet.FleetError as error:
        assert "fleet.toml" in str(error)
        return None


def placeholders(value: Any) -> Iterator[str]:
    """Each placeholder that Fn::Sub would fill in."""
    if isinstance(value, dict):
        for key, inner in value.items():
            text = inner[0] if isinstance(inner, list) and inner else inner
            if key == "Fn::Sub" and isinstance(text, str):
                yield from re.findall(r"\$\{([^!][^}]*)\}", text)
            yield from placeholders(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from placeholders(inner)


def built(found: declared.Fleet) -> dict[str, Any]:
    static: dict[str, Any] = {"Resources": {"Alerts": {"Type": "AWS::SNS::Topic"}}}
    return template.merged(static, found, "s", [])


def script(found: declared.Fleet) -> str:
    assert found.tunnels and found.tunnels.hosts
    text = tunnel_host.user_data(found.tunnels, found.tunnels.hosts, tunnel_host.files())
    return re.sub(r"\$\{[A-Za-z:]+\}", "x", text)


def ran(text: str, folder: Path) -> dict[str, list[str]]:
    """The files that bash makes of the script below `folder`, each as its lines."""
    root = folder / "etc"
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    whole = _STUBS + text.replace("/etc/lamplighter", str(root))
    assert subprocess.run(["bash", "-n"], input=whole, text=True, capture_output=True).stderr == ""
    done = subprocess.run(["bash"], input=whole, text=True, cwd=folder, capture_output=True,
                          env={"PATH": "/usr/bin:/bin"})
    assert (done.returncode, done.stderr) == (0, "")
    return {path.name: path.read_text().splitlines() for path in sorted(root.rglob("*.env"))}


GOOD = fleet.parse(TEXT)


# The names in the two files of settings of a host, in order.
SETTINGS = [*(name.upper() for name in tunnel_host.Settings.__struct_fields__), *(
    "ALIAS", "GATEWAY", "DATABASE", "GATEWAY_PORT", "GATEWAY_USER", "DATABASE_PORT")]


@pytest.mark.slow
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=80)
@given(which=st.integers(0, len(LITERALS) - 1), text=HOSTILE)
@example(which=next(at for at, (start, end) in enumerate(LITERALS) if TEXT[start:end] == '"MariaDB"'),
         text="Maria\nSETTINGS\ntouch PROBE\ncat <<'SETTINGS'")
def test_a_value_of_the_fleet_is_refused_or_stays_one_value(tmp_path: Path, which: int, text: str) -> None:
    found = taken(changed(which, text))
    if found is None:
        return
    assert set(placeholders(built(found))) <= set(placeholders(built(GOOD)))
    if found.tunnels and found.tunnels.hosts:
        lines = [line.partition("=")[0] for file in ran(script(found), tmp_path).values() for line in file]
        assert lines == SETTINGS
        assert not list(tmp_path.rglob("PROBE"))
        value = resources.merged({}, found)["Resources"]["TunnelsKnownHosts"]["Properties"]["Value"]
        assert all(len(line.split(" ")) == 3 and line.isprintable() for line in value.split("\n")[:-1])


@pytest.mark.slow
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(HOSTILE | st.text(max_size=20))
def test_an_environment_file_gives_each_reader_the_same_value_or_is_refused(tmp_path: Path, text: str) -> None:
    """Its readers: bash, which writes it, and the host's programs. Systemd reads plain words as both do."""
    try:
        lines = escape.environment({"server": text, "last": "1"})
    except escape.Unwritable as refused:
        assert str(refused).startswith("server: ")
        return
    done = subprocess.run(["bash"], input=f"cat <<'SETTINGS'\n{lines}\nSETTINGS\n", text=True, capture_output=True,
                          cwd=tmp_path)
    assert done.stdout == f"SERVER={text}\nLAST=1\n" and not (tmp_path / "PROBE").exists()
    assert dict(line.split("=", 1) for line in done.stdout.splitlines()) == {"SERVER": text, "LAST": "1"}
    assert shlex.split(f"x={shlex.quote(text)}") == [f"x={text}"]


@given(HOSTILE | st.text(max_size=70))
def test_an_identifier_is_one_quoted_word_or_refused(text: str) -> None:
    try:
        quoted = escape.identifier(text)
    except escape.Unwritable:
        return
    assert re.fullmatch(r"`([^`]|``)+`", quoted) and quoted[1:-1].replace("``", "`") == text


def test_the_heartbeat_goes_through_the_same_function() -> None:
    assert dialect.quoted("a`; DROP TABLE b; --.c") == "`a``; DROP TABLE b; --`.`c`"


@given(alias=HOSTILE, key=HOSTILE)
def test_a_known_host_is_one_line_of_three_words_or_refused(alias: str, key: str) -> None:
    try:
        line = escape.known_host(alias, key)
    except escape.Unwritable:
        return
    assert line.count("\n") == 1 and line.endswith("\n") and len(line.split()) == 3 and line[:-1].isprintable()


@pytest.mark.slow
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(value=HOSTILE.filter(lambda text: "\0" not in text), command=HOSTILE.filter(lambda text: "\0" not in text))
def test_a_script_for_run_command_gives_its_values_to_the_real_shell_as_they_are(
    tmp_path: Path, value: str, command: str
) -> None:
    wanted = msgspec.structs.replace(job(on="ssm", command=command), env={"VALUE": value, "SHELL": "/bin/echo"})
    text = ssm._script(Attempt(wanted, SLOT, 0, 1, "owner", lambda: False))
    done = subprocess.run(["sh"], input=text + "\n", text=True, capture_output=True, cwd=tmp_path)
    assert not (tmp_path / "PROBE").exists()
    assert done.returncode == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become somebody else")
@pytest.mark.parametrize(("user", "own", "told"), [
    ("nobody", {}, "nobody nobody 7 /nonexistent"),
    # As most crontabs have it: without the folder of runuser.
    ("nobody", {"PATH": "/usr/bin:/bin"}, "nobody nobody 7 /nonexistent"),
    ("nobody", {"HOME": "/srv/it's", "SHELL": "/bin/bash"}, "nobody nobody 7 /srv/it's"),
    ("", {}, "root deploy 7 /root"),
    ("", {"HOME": "/srv/app"}, "root deploy 7 /srv/app")])
def test_a_script_for_run_command_runs_as_the_user_that_the_policy_names(
    user: str, own: dict[str, str], told: str
) -> None:
    tells = 'echo "$(id -un) $LOGNAME $VALUE $HOME"'
    wanted = msgspec.structs.replace(
        job(on="ssm", user=user, command=tells), env={"VALUE": "7", "LOGNAME": "deploy", **own})
    text = ssm._script(Attempt(wanted, SLOT, 0, 1, "owner", lambda: False))
    environment = {"PATH": os.environ["PATH"] + ":/usr/sbin", "HOME": "/root"}
    done = subprocess.run(["sh", "-c", text], text=True, capture_output=True, cwd="/", env=environment)
    assert done.stdout == told + "\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become somebody else")
@pytest.mark.parametrize(("user", "code"), [("nobody", 7), ("", 7), ("nobody-of-this-name", 1)])
def test_a_script_for_run_command_ends_as_its_command_or_fails_for_want_of_a_user(user: str, code: int) -> None:
    wanted = job(on="ssm", user=user, command="exit 7")
    text = ssm._script(Attempt(wanted, SLOT, 0, 1, "owner", lambda: False))
    assert subprocess.run(["sh", "-c", text], capture_output=True).returncode == code


def _patterns() -> Iterator[tuple[str, str]]:
    """Each pattern that a value of fleet.toml is held to, with the place of its declaration."""
    for file in sorted(Path(declared.__file__).parent.glob("*.py")):
        for pattern in re.findall(r'pattern=r?"((?:[^"\\]|\\.)*)"', file.read_text()):
            yield file.name, pattern


def test_each_pattern_of_a_value_ends_at_the_end_of_the_text() -> None:
    """`$` also matches before a line break at the end, and so lets one in."""
    found = list(_patterns())
    assert len(found) > 20
    assert [one for one in found if not (one[1].startswith("^") and one[1].endswith(r"\Z"))] == []
