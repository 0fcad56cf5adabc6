"""The user data of a tunnel host: small enough, complete, the same each time, and units that systemd understands."""

import ast
import base64
import io
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from chalicelib.config import fleet
from chalicelib.tunnels.infrastructure import host as tunnel_host
from commands import roots
from tests.tunnels.fleets import FAR, TEXT, WAYS, parsed

PYTHON = [path for path in tunnel_host.files() if path.endswith(".py")]


def script() -> str:
    """The user data of the sample fleet."""
    _, tunnels, hosts = parsed()
    return tunnel_host.user_data(tunnels, hosts, tunnel_host.files())


def unpacked(folder: Path, text: str = "") -> Path:
    """The files that the script lays onto a host, laid into `folder`."""
    packed = re.search(r"<<'FILES'.*?\n(.*)\nFILES\n", text or script(), re.DOTALL)
    assert packed
    with tarfile.open(fileobj=io.BytesIO(base64.b64decode(packed[1])), mode="r:gz") as archive:
        archive.extractall(folder, filter="data")
    return folder


def test_it_fits_with_room_for_what_cloudformation_puts_in() -> None:
    longest = 'gateway = "' + "a" * 253 + '"'
    declared = fleet.parse(TEXT.replace('gateway = "gw.example.com"', longest).replace(
        'database = "db.internal"', f'database = "{"b" * 253}"')).tunnels
    assert declared and declared.hosts
    text = tunnel_host.user_data(declared, declared.hosts, tunnel_host.files())
    filled = text.replace("${Gateway}", "a" * 253).replace("${AWS::StackName}", "s" * 40)
    assert len(filled.encode()) <= tunnel_host.MOST_BYTES


@pytest.mark.slow
def test_equal_files_give_an_equal_script_and_another_one_another() -> None:
    assert script() == script()
    _, tunnels, hosts = parsed()
    more = {**tunnel_host.files(), "agent/ssh_config": b"Host *\n"}
    assert tunnel_host.user_data(tunnels, hosts, more) != script()


@pytest.mark.slow
def test_it_is_a_script_that_bash_understands_with_nothing_to_put_in_but_what_the_template_knows() -> None:
    assert set(re.findall(r"\$\{([^}]*)\}", script())) == {"AWS::Region", "AWS::StackName", "Gateway"}
    plain = re.sub(r"\$\{[^}]*\}", "x", script())
    assert subprocess.run(["bash", "-n"], input=plain, text=True, capture_output=True).stderr == ""


def test_its_settings_are_those_of_the_fleet() -> None:
    lines = script().split("<<'SETTINGS'\n")[1].split("\nSETTINGS\n")[0].splitlines()
    assert dict(line.split("=", 1) for line in lines) == {
        "REGION": "${AWS::Region}", "SECRET": "${AWS::StackName}-tunnels-key",
        "KNOWN_HOSTS": "/lamplighter/${AWS::StackName}/tunnels/known-hosts", "PRIMARY": "us-east-1",
        "PRIMARY_PARAMETER": "", "ALIAS": "lamplighter-gateway-us-east-1", "GATEWAY": "${Gateway}",
        "GATEWAY_PORT": "22", "GATEWAY_USER": "tunnel", "DATABASE": "db.internal", "DATABASE_PORT": "3306",
        "PORT": "3306", "HEALTH_PORT": "3307", "SERVER": "", "LISTEN": "0.0.0.0",  # noqa: S104
        "PROBE": "127.0.0.1"}


def test_the_ways_to_other_primaries_are_files_that_say_the_same_words() -> None:
    _, tunnels, hosts = parsed(WAYS)
    text = tunnel_host.user_data(tunnels, hosts, tunnel_host.files())
    [(region, lines)] = re.findall(r"(?s)cat >/etc/lamplighter/ways/(\S+)\.env <<'WAY'\n(.*?)\nWAY\n", text)
    way = dict(line.split("=", 1) for line in lines.splitlines())
    assert (region, way) == (FAR, {
        "ALIAS": f"lamplighter-gateway-{FAR}", "GATEWAY": "10.3.0.9", "GATEWAY_PORT": "2222", "GATEWAY_USER": "tunnel",
        "DATABASE": "db.ap", "DATABASE_PORT": "3306"})
    assert way.keys() < {name.upper() for name in tunnel_host.Settings.__struct_fields__}
    assert "PRIMARY_PARAMETER=/lamplighter/${AWS::StackName}/tunnels/primary-region" in text
    assert subprocess.run(["bash", "-n"], input=re.sub(r"\$\{[^}]*\}", "x", text), text=True,
                          capture_output=True).stderr == ""


@pytest.mark.slow
def test_it_starts_its_units_and_shuts_out_sshd() -> None:
    assert "systemctl mask sshd.service sshd.socket" in script()
    assert script().count(" ".join(tunnel_host.UNITS)) == 2


def test_every_file_lands_where_the_units_look_for_it(tmp_path: Path) -> None:
    root = unpacked(tmp_path)
    units = "".join((root / "etc/systemd/system" / unit).read_text() for unit in tunnel_host.UNITS)
    for path in re.findall(r"/(?:usr/local|etc/lamplighter)/[\w./-]+", units):
        assert path == "/etc/lamplighter/tunnel.env" or (root / path[1:]).is_file(), path
    assert (root / "usr/local/bin/lamplighter-keys").stat().st_mode & 0o777 == 0o755


@pytest.mark.slow
@pytest.mark.parametrize("path", PYTHON)
def test_a_lean_file_is_the_same_program(path: str) -> None:
    def stripped(source: bytes) -> str:
        tree = ast.parse(source, feature_version=(3, 9))
        for first, _, rest in tunnel_host._docstrings(tree):
            for node in ast.walk(tree):
                body = getattr(node, "body", None)
                if isinstance(body, list) and body and isinstance(body[0], ast.Expr) and body[0].lineno == first:
                    body[0:1] = [ast.Pass()] if rest else []
        return ast.dump(tree)

    whole = (roots.PRODUCT / path).read_bytes()
    lean = tunnel_host.lean(whole)
    assert stripped(lean) == stripped(whole) and len(lean) < 0.9 * len(whole)


@pytest.mark.parametrize(("source", "lean"), [
    ('"""Doc."""\n\nx = 1  # why\n', "x = 1\n"),
    ('def f() -> None:\n    """Doc.\n\n    More.\n    """\n', "def f() -> None:\n    pass\n"),
    ('x = """a\n\n# b\n"""\n# c\n', 'x = """a\n\n# b\n"""\n'),
    ('#!/usr/bin/python3\n# no\nx = "#1"\n', '#!/usr/bin/python3\nx = "#1"\n'),
])
def test_only_comments_and_docstrings_go(source: str, lean: str) -> None:
    assert tunnel_host.lean(source.encode()).decode() == lean


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A system with the host's files and systemd's own units; the test is skipped where there is no systemd."""
    own = Path("/lib/systemd/system")
    if not shutil.which("systemd-analyze") or not (own / "sysinit.target").exists():
        pytest.skip("needs systemd-analyze and systemd's units; apt-get install systemd")
    unpacked(tmp_path)
    for target in own.glob("*.target"):
        if not target.is_symlink():
            shutil.copy(target, tmp_path / "etc/systemd/system")
    for place in ("usr/bin/ssh", "usr/bin/test", "usr/bin/python3"):
        (tmp_path / place).parent.mkdir(exist_ok=True)
        (tmp_path / place).write_text("#!/bin/sh\n")
        (tmp_path / place).chmod(0o755)
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("unit", tunnel_host.UNITS)
def test_systemd_understands_every_line_of_a_unit(root: Path, unit: str) -> None:
    path = root / "etc/systemd/system" / unit
    asked = subprocess.run(["systemd-analyze", "verify", "--man=no", f"--root={root}", path],
                           capture_output=True, text=True)
    assert [line for line in asked.stderr.splitlines() if "lamplighter" in line] == []
    # The check itself: a line that systemd does not know is told.
    path.write_text(path.read_text().replace("[Service]", "[Service]\nNoSuchThing=1"))
    asked = subprocess.run(["systemd-analyze", "verify", "--man=no", f"--root={root}", path],
                           capture_output=True, text=True)
    assert "NoSuchThing" in asked.stderr


@pytest.mark.slow
@pytest.mark.parametrize("unit", tunnel_host.UNITS)
def test_systemd_calls_a_unit_little_exposed(root: Path, unit: str) -> None:
    asked = subprocess.run(["systemd-analyze", "security", "--offline=true", "--no-pager", f"--root={root}", unit],
                           capture_output=True, text=True)
    found = re.search(r"Overall exposure level for \S+: (\d+\.\d)", asked.stdout)
    assert found and float(found[1]) <= 2.0, asked.stdout[-300:] + asked.stderr


def test_the_tunnel_is_restarted_for_ever_and_without_delay() -> None:
    text = (roots.PRODUCT / "agent/lamplighter-tunnel.service").read_text().splitlines()
    assert {"Restart=always", "RestartSec=1", "StartLimitIntervalSec=0"} <= set(text)
    config = [line.split() for line in (roots.PRODUCT / "agent/ssh_config").read_text().splitlines()]
    wanted = {"ServerAliveInterval": "3", "ServerAliveCountMax": "2", "ConnectTimeout": "5", "TCPKeepAlive": "yes",
              "ExitOnForwardFailure": "yes", "BatchMode": "yes", "StrictHostKeyChecking": "yes",
              "IdentitiesOnly": "yes"}
    assert wanted.items() <= {line[0]: line[1] for line in config if len(line) > 1}.items()
    assert next(line for line in config if line[:1] == ["Ciphers"])[1].startswith("aes128-gcm@openssh.com,")


def test_ssh_understands_its_configuration() -> None:
    if not shutil.which("ssh"):
        pytest.skip("needs ssh; apt-get install openssh-client")
    asked = subprocess.run(["ssh", "-G", "-F", roots.PRODUCT / "agent/ssh_config", "gateway"],
                           capture_output=True, text=True, check=True)
    told = dict(line.split(" ", 1) for line in asked.stdout.splitlines() if " " in line)
    assert (told["serveraliveinterval"], told["exitonforwardfailure"], told["stricthostkeychecking"]) == (
        "3", "yes", "true")
    assert told["ciphers"].startswith("aes128-gcm@openssh.com") and asked.stderr == ""


@pytest.mark.slow
def test_the_programs_of_a_host_run_by_the_python_of_this_project(tmp_path: Path) -> None:
    root = unpacked(tmp_path)
    for words in (["usr/local/bin/lamplighter-keys"], ["usr/local/lib/lamplighter/tunnel_health.py", "--help"]):
        done = subprocess.run([sys.executable, "-I", root / words[0], *words[1:]], capture_output=True, text=True)
        assert "usage: " in done.stdout + done.stderr
