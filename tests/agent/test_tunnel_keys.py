"""lamplighter-keys by itself: what it writes, what it says, and what it leaves when it cannot."""

import importlib.util
import shutil
import socket
import stat
import subprocess
from pathlib import Path

import pytest

from chalicelib.tunnels.infrastructure import host as tunnel_host
from chalicelib.tunnels.keys.openssh import Key
from tests.agent.fake_aws import HOST_KEYS, PRIMARY_PARAMETER, PROGRAM, WAY, Host, host

HERE = "PRIMARY=us-east-1\n"
KEY = Key(bytes(32), "a" * 36).private()


def left(made: Host) -> list[str]:
    """The files in memory."""
    return sorted(path.name for path in made.run.iterdir())


@pytest.mark.slow
def test_at_boot_both_are_in_place_for_their_owner_alone_and_only_the_version_is_told(tmp_path: Path) -> None:
    made = host(tmp_path)
    made.answers(AWSCURRENT=KEY)
    done = made.keys("boot")
    assert (done.returncode, done.stdout, done.stderr) == (0, "version=version-of-AWSCURRENT\n", "")
    assert (made.run / "key").read_text() == KEY and (made.run / "known_hosts").read_text() == HOST_KEYS
    assert {stat.S_IMODE(path.stat().st_mode) for path in made.run.iterdir()} == {0o600}
    assert left(made) == ["key", "known_hosts", "way.env"]


@pytest.mark.slow
def test_no_key_is_ever_on_a_command_line(tmp_path: Path) -> None:
    made = host(tmp_path)
    made.answers(AWSCURRENT=KEY)
    made.keys("boot")
    asked = (tmp_path / "asked").read_text()
    assert "get-secret-value --secret-id s --version-stage AWSCURRENT --region eu-west-1" in asked
    assert KEY.splitlines()[3] not in asked


@pytest.mark.slow
def test_without_a_key_it_says_how_there_comes_to_be_one(tmp_path: Path) -> None:
    made = host(tmp_path)
    made.answers()
    for word in ("boot", "reload"):
        done = made.keys(word)
        assert done.returncode == 1 and "Run the operation tunnels.rotate_keys" in done.stderr
    made.answers(AWSCURRENT="")
    assert made.keys("boot").returncode == 1 and left(made) == ["known_hosts", "way.env"]


@pytest.mark.slow
@pytest.mark.parametrize(("lines", "said"), [
    (["#!/bin/sh", "echo 'An error occurred (AccessDeniedException): no' >&2; exit 254"], "AccessDeniedException"),
    (["#!/bin/sh", "echo not json"], "JSONDecodeError"),
    (["#!/bin/sh", "echo {}"], "KeyError"),
])
def test_an_answer_that_is_none_leaves_what_is_there(tmp_path: Path, lines: list[str], said: str) -> None:
    made = host(tmp_path)
    made.answers(AWSCURRENT=KEY)
    made.keys("boot")
    made.says(lines)
    for word in ("boot", "reload"):
        done = made.keys(word)
        assert done.returncode == 1 and said in done.stderr and not done.stdout
    assert (made.run / "key").read_text() == KEY and left(made) == ["key", "known_hosts", "way.env"]


def test_a_damaged_answer_is_not_quoted(tmp_path: Path) -> None:
    made = host(tmp_path)
    made.says(["#!/bin/sh", f"echo '{{\"SecretString\": \"{KEY.splitlines()[3]}'"])
    done = made.keys("boot")
    assert done.returncode == 1 and KEY.splitlines()[3] not in done.stdout + done.stderr


@pytest.mark.slow
def test_a_key_that_the_gateway_does_not_take_is_not_put_in_place(tmp_path: Path) -> None:
    if not shutil.which("ssh"):
        pytest.skip("needs ssh; apt-get install openssh-client")
    made = host(tmp_path)
    made.answers(AWSCURRENT=KEY, AWSPENDING=Key(bytes([1] * 32), "b" * 36).private())
    made.keys("boot")
    done = made.keys("reload")  # nobody listens at port 1
    assert done.returncode == 3 and "does not let this key in" in done.stderr and not done.stdout
    assert (made.run / "key").read_text() == KEY and left(made) == ["key", "known_hosts", "way.env"]


@pytest.mark.slow
def test_at_boot_it_leads_to_where_the_primary_is_now(tmp_path: Path) -> None:
    made = host(tmp_path)
    for primary, way in (("eu-north-1", f"PRIMARY=eu-north-1\n{WAY}"), ("us-east-1", HERE), ("", HERE)):
        made.answers(primary, AWSCURRENT=KEY)
        assert made.keys("boot").returncode == 0
        assert (made.run / "way.env").read_text() == way


@pytest.mark.slow
def test_where_there_is_one_way_nobody_is_asked_for_it(tmp_path: Path) -> None:
    made = host(tmp_path, parameter="")
    made.answers(AWSCURRENT=KEY)
    assert made.keys("boot").returncode == 0 and PRIMARY_PARAMETER not in (tmp_path / "asked").read_text()


@pytest.mark.slow
def test_a_way_that_is_not_known_leaves_what_is_there(tmp_path: Path) -> None:
    made = host(tmp_path)
    made.answers("eu-north-1", AWSCURRENT=KEY)
    made.keys("boot")
    made.answers("sa-east-1", AWSCURRENT=KEY)
    for words in (["boot"], ["point", "sa-east-1"]):
        done = made.keys(*words)
        assert done.returncode == 1 and "no way to sa-east-1" in done.stderr and "Replace it" in done.stderr
    assert (made.run / "way.env").read_text() == f"PRIMARY=eu-north-1\n{WAY}"
    assert left(made) == ["key", "known_hosts", "way.env"]


@pytest.mark.slow
def test_a_way_is_not_taken_before_it_has_led_to_a_database(tmp_path: Path) -> None:
    if not shutil.which("ssh"):
        pytest.skip("needs ssh; apt-get install openssh-client")
    made = host(tmp_path)
    made.answers(AWSCURRENT=KEY)
    made.keys("boot")
    made.answers("eu-north-1", AWSCURRENT=KEY)
    done = made.keys("point", "eu-north-1")
    assert done.returncode == 3 and "the gateway 127.0.0.9 does not let this key in" in done.stderr
    assert (made.run / "way.env").read_text() == HERE and left(made) == ["key", "known_hosts", "way.env"]


@pytest.mark.slow
def test_whoever_is_to_lead_elsewhere_than_the_parameter_says_does_not(tmp_path: Path) -> None:
    made = host(tmp_path)
    made.answers("us-east-1", AWSCURRENT=KEY)
    done = made.keys("point", "eu-north-1")
    assert done.returncode == 3 and "/primary-region says us-east-1 yet, not eu-north-1" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("words", [[], ["restart"], ["boot", "reload"], ["point"], ["reload", "eu-west-1"]])
def test_any_other_word_is_refused(tmp_path: Path, words: list[str]) -> None:
    done = host(tmp_path).keys(*words)
    assert done.returncode == 2 and "usage: lamplighter-keys boot | reload" in done.stderr


def test_each_address_behind_a_gateways_name_is_tried_and_those_of_ipv4_where_there_are_any(
    monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = importlib.util.spec_from_file_location("tunnel_keys", PROGRAM)
    assert spec and spec.loader
    spec.loader.exec_module(program := importlib.util.module_from_spec(spec))
    old = [(socket.AF_INET, 0, 0, "", (address, 22)) for address in ("10.0.0.2", "10.0.0.1", "10.0.0.2")]
    new = [(socket.AF_INET6, 0, 0, "", ("fd00::1", 22, 0, 0))]
    gateway = {"GATEWAY": "two-behind-one-name", "GATEWAY_PORT": "22"}
    for found, addresses in ((old + new, ["10.0.0.1", "10.0.0.2"]), (new, ["fd00::1"])):
        monkeypatch.setattr(socket, "getaddrinfo", lambda *words, found=found, **more: found)
        assert program._addresses(gateway) == addresses


@pytest.mark.slow
def test_pythons_of_amazon_linux_run_it(tmp_path: Path) -> None:
    python = shutil.which("python3.9")
    if not python or subprocess.run([python, "--version"], capture_output=True).returncode:
        pytest.skip("needs Python 3.9, as Amazon Linux 2023 has it")
    made, lean = host(tmp_path), tmp_path / "lamplighter-keys"
    lean.write_bytes(tunnel_host.lean(PROGRAM.read_bytes()))
    made.answers(AWSCURRENT=KEY)
    done = made.keys("boot", program=lean, python=python)
    assert (done.returncode, done.stdout, done.stderr) == (0, "version=version-of-AWSCURRENT\n", "")
