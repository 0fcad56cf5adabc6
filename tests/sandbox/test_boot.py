"""An instance becomes a tunnel host once: the units that begin all at once never write what another one runs."""

from pathlib import Path

import pytest

from chalicelib.tunnels.infrastructure import host as tunnel_host
from sandbox.hosts import boot
from tests.tunnels.fleets import parsed


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An instance's disk."""
    (tmp_path / "shims").mkdir()
    return tmp_path


def rendered() -> str:
    """The user data of a tunnel host."""
    _, tunnels, hosts = parsed()
    return tunnel_host.user_data(tunnels, hosts, tunnel_host.files(), "stack")


def test_what_was_laid_out_is_not_written_again(folder: Path) -> None:
    text = rendered()
    boot.lay(folder, folder / "keyring", text, "127.0.0.2")
    program = folder / "root/usr/local/bin/lamplighter-keys"
    program.write_text("as it was")
    boot.lay(folder, folder / "keyring", text, "127.0.0.2")
    assert program.read_text() == "as it was"


def test_another_address_is_laid_out_anew(folder: Path) -> None:
    text = rendered()
    boot.lay(folder, folder / "keyring", text, "127.0.0.2")
    boot.lay(folder, folder / "keyring", text, "127.0.0.3")
    assert "LISTEN=127.0.0.3" in (folder / "tunnel.env").read_text()
    assert (folder / "root/usr/local/bin/lamplighter-keys").read_text().startswith("#!/usr/bin/python3")
