"""The programs of the tunnel hosts, the gateway and the database, real ones if the machine has them, else our own."""

import os
import shutil
from pathlib import Path

import msgspec

# Servers stand in folders that not every PATH names.
_FOLDERS = ("/usr/sbin", "/usr/local/sbin", "/sbin", "/usr/libexec")
# sshd of Debian and Ubuntu separates its privileges by this folder, which the system's own service makes.
_SEPARATION = Path("/run/sshd")


class Programs(msgspec.Struct, frozen=True):
    """Paths of the real programs, each empty where our own stands in. `ssh` and `sshd` are both real or both not."""

    ssh: str = ""
    sshd: str = ""
    mariadbd: str = ""
    installer: str = ""

    def said(self) -> str:
        """Which are used, in one line for people."""
        tunnels = "OpenSSH" if self.sshd else "AsyncSSH in place of OpenSSH"
        return f"{tunnels}, {'MariaDB' if self.mariadbd else 'a greeting service in place of MariaDB'}"


def found() -> Programs:
    """The programs of this machine."""
    ssh, sshd = _find("ssh"), _find("sshd")
    mariadbd, installer = _find("mariadbd"), _find("mariadb-install-db")
    if not (ssh and sshd and _may_run_sshd()):
        ssh = sshd = ""
    if not (mariadbd and installer):
        mariadbd = installer = ""
    return Programs(ssh, sshd, mariadbd, installer)


def _may_run_sshd() -> bool:
    """An sshd that root starts needs its folder. Anybody else's logs in its own user alone, and needs nothing."""
    return os.geteuid() != 0 or _SEPARATION.is_dir()


def _find(program: str) -> str:
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), *_FOLDERS])
    return shutil.which(program, path=path) or ""
