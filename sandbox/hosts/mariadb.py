"""A real MariaDB as an instance of the sandbox, with its command line and its one account for everybody."""

import secrets
import shlex
from pathlib import Path

from sandbox.hosts.programs import Programs

ACCOUNT = "application"
PORT = 3306
# A server of the sandbox holds little; what it has committed survives a kill of it, as in any other.
_SMALL = "--innodb-buffer-pool-size=16M --innodb-log-file-size=16M --performance-schema=OFF"


class Account:
    """ACCOUNT may do everything, with `password`. A server learns of it from the file `path`, each time it starts.

    A server without an account for a host gives every connection from there error 1130.
    """

    def __init__(self, folder: Path) -> None:
        self.password = secrets.token_hex(16)
        self.path = folder / "account.sql"
        self.path.touch(0o600)
        # A replica has the account from this file, too: from its primary it would come twice.
        self.path.write_text("SET sql_log_bin = 0;\n"
                             f"CREATE USER IF NOT EXISTS '{ACCOUNT}'@'%' IDENTIFIED BY '{self.password}';\n"
                             f"GRANT ALL PRIVILEGES ON *.* TO '{ACCOUNT}'@'%';\n")


def service(programs: Programs, account: Account, number: int, *options: str) -> str:
    """A command line for /bin/sh that becomes server `number`, with a binary log, in the instance's folder."""
    server = (f"{shlex.quote(programs.mariadbd)} --no-defaults --user=$(id -un) --datadir=$PWD/data "
              f"--socket=$PWD/socket --pid-file=$PWD/pid --tmpdir=$PWD/tmp --bind-address=$ADDRESS --port={PORT} "
              f"--skip-name-resolve --init-file={shlex.quote(str(account.path))} --server-id={number} --log-bin=bin "
              f"--log-slave-updates --gtid-strict-mode=ON {_SMALL} {' '.join(options)}")
    return (f"mkdir -p tmp && {{ [ -d data/mysql ] || {shlex.quote(programs.installer)} --no-defaults "
            f"--user=$(id -un) --datadir=$PWD/data --skip-test-db >&2; }} && exec {server.rstrip()}")
