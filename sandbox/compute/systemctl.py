"""`systemctl` inside an instance. It asks the instance's supervisor, and exits with the status of the real systemctl.

Run as `python systemctl.py FOLDER WORDS...`, where FOLDER is the instance's. `shim` is the file that stands for it.
"""

import json
import os
import shlex
import socket
import sys
from pathlib import Path


def shim(folder: Path) -> str:
    """A shell script that is found as `systemctl` on an instance's PATH."""
    words = (sys.executable, "-I", "-S", str(Path(__file__).resolve()), str(folder))
    return "#!/bin/sh\nexec " + " ".join(shlex.quote(word) for word in words) + ' "$@"\n'


def main() -> int:
    """Ask, print, and give back the status."""
    os.chdir(sys.argv[1])
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.connect("control")
        with connection.makefile("rw") as stream:
            stream.write(json.dumps(sys.argv[2:]) + "\n")
            stream.flush()
            answer = json.loads(stream.readline())
    if answer["text"]:
        (sys.stdout if answer["code"] in (0, 3) else sys.stderr).write(answer["text"] + "\n")
    return int(answer["code"])


if __name__ == "__main__":
    sys.exit(main())
