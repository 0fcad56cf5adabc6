"""The real servers of the tests, installed if Debian's packages and root are enough."""

import os
import shutil
import subprocess
from pathlib import Path

from commands.exclusive import exclusive
from commands.terminal import write

# What is looked for, and the package that brings it.
PROGRAMS = {"sshd": "openssh-server", "ssh": "openssh-client", "mariadbd": "mariadb-server", "haproxy": "haproxy",
            "autossh": "autossh", "ip": "iproute2", "dig": "dnsutils"}
# Where a system keeps its servers, which a user's PATH may leave out.
_PLACES = f"{os.defpath}:/usr/sbin:/usr/local/sbin"
_LOCK = Path("/run/lamp-apt.lock")


def missing() -> list[str]:
    """The packages whose programs are not there."""
    path = f"{os.environ.get('PATH', os.defpath)}:{_PLACES}"
    return [package for program, package in PROGRAMS.items() if shutil.which(program, path=path) is None]


def install() -> None:
    """Installs what is missing. If that is impossible, it says so, and so do the tests that need it."""
    packages = missing()
    if not packages:
        return
    if os.geteuid() or not shutil.which("apt-get"):
        write(f"lamp: not here, so tests that need them are skipped: {', '.join(packages)}", to_stderr=True)
        return
    with exclusive(_LOCK, "installing packages"):
        _install(missing())


def _install(packages: list[str]) -> None:
    if not packages:
        return  # another command has brought them meanwhile
    write(f"lamp: installing what tests talk to: {', '.join(packages)}", to_stderr=True)
    quiet = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    install = ["apt-get", "install", "-y", "-qq", "-o", "DPkg::Lock::Timeout=600", *packages]
    for words in (["apt-get", "update", "-qq"], install):
        if subprocess.run(words, env=quiet, stdout=subprocess.DEVNULL).returncode:
            write(f"lamp: {' '.join(words[:2])} failed, see above: tests that need {', '.join(missing())} are skipped",
                  to_stderr=True)
            return
