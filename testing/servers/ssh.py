"""OpenSSH as it is used for tunnels: a server with keys and a configuration of its own, clients that forward a port.

    with ssh.server("127.0.0.5") as far, far.tunnel(("127.0.0.6", 3306), ("10.0.0.1", 3306)) as tunnel:
        tunnel.stop()

An sshd that root started logs root in, any other its own user. Nothing of the user's own ~/.ssh is read or written.
"""

import contextlib
import getpass
import os
import shlex
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from testing.servers.process import Peer, find, free_port, started

PROGRAMS = ("sshd", "ssh", "ssh-keygen")
# What a tunnel host of ours runs with: a dead path is noticed after 6 s at most.
TUNED = {"ServerAliveInterval": "3", "ServerAliveCountMax": "2", "ConnectTimeout": "5", "ExitOnForwardFailure": "yes"}
_READY = "tunnel is up"

Place = tuple[str, int]


class Sshd:
    """A running server. `tunnel_words` is the command of a tunnel, for who starts it some other way."""

    def __init__(self, folder: Path, address: str, port: int) -> None:
        self.folder, self.address, self.port = folder, address, port
        self.process: Peer

    def start(self) -> None:
        """Starts it with the same keys as before. Returns when it listens."""
        self.process = Peer([find("sshd"), "-D", "-e", "-f", self.folder / "sshd_config"])
        self.process.await_line("Server listening on")

    def tunnel_words(
        self, near: Place, far: Place, options: Mapping[str, str] = TUNED, program: str = "ssh"
    ) -> list[str]:
        """`program -N -L near:far`, with `options` as ssh_config has them."""
        set_here = {
            "IdentityFile": str(self.folder / "user"), "IdentitiesOnly": "yes", "BatchMode": "yes",
            "UserKnownHostsFile": str(self.folder / "known_hosts"), "GlobalKnownHostsFile": "/dev/null",
            "StrictHostKeyChecking": "yes", "PermitLocalCommand": "yes", "LocalCommand": f"echo {_READY}", **options}
        words = [find(program), *(["-M", "0"] if program == "autossh" else []), "-N", "-F", "none"]
        for name, value in set_here.items():
            words += ["-o", f"{name}={value}"]
        forward = f"{near[0]}:{near[1]}:{far[0]}:{far[1]}"
        return [*words, "-p", str(self.port), "-L", forward, f"{getpass.getuser()}@{self.address}"]

    @contextlib.contextmanager
    def tunnel(self, near: Place, far: Place, options: Mapping[str, str] = TUNED) -> Iterator[Peer]:
        """A tunnel that is up. It is not restarted when it ends."""
        with Peer(self.tunnel_words(near, far, options)) as client:
            client.await_line(_READY)
            yield client

    @contextlib.contextmanager
    def kept(
        self, near: Place, far: Place, options: Mapping[str, str] = TUNED, program: str = "ssh"
    ) -> Iterator[Peer]:
        """A tunnel that is restarted whenever it ends: by a loop, as by systemd, or by autossh itself."""
        words = self.tunnel_words(near, far, options, program)
        if program == "ssh":
            words = ["/bin/sh", "-c", f"while :; do {shlex.join(words)}; sleep 0.1; done"]
        with Peer(words, env={"AUTOSSH_GATETIME": "0", "AUTOSSH_PATH": find("ssh")}) as keeper:
            keeper.await_line(_READY)
            yield keeper


@contextlib.contextmanager
def server(address: str, port: int = 0) -> Iterator[Sshd]:
    """A running sshd at `address`. Ended at the end with all its sessions, and its folder removed."""
    with tempfile.TemporaryDirectory(prefix="lamp-ssh-") as folder:
        made = Sshd(Path(folder), address, port or free_port(address))
        _write(made)
        _separation()
        with started(made) as running:
            yield running


def _write(server: Sshd) -> None:
    folder = server.folder
    for name in ("host", "user"):
        subprocess.run([find("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", folder / name], check=True)
    public = (folder / "host.pub").read_text().strip()
    (folder / "known_hosts").write_text(f"[{server.address}]:{server.port} {public}\n{server.address} {public}\n")
    (folder / "sshd_config").write_text("\n".join([
        f"ListenAddress {server.address}", f"Port {server.port}", f"HostKey {folder / 'host'}", "PidFile none",
        f"AuthorizedKeysFile {folder / 'user.pub'}", "StrictModes no", "UsePAM no", "PasswordAuthentication no",
        "KbdInteractiveAuthentication no", "PermitRootLogin prohibit-password", "AllowTcpForwarding yes", "UseDNS no",
        "MaxStartups 200", "LogLevel INFO", ""]))


def _separation() -> None:
    """The folder that root's sshd wants, which the system makes when it starts a service of that name.

    It stays: another sshd may have begun to use it meanwhile, and it is empty.
    """
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
