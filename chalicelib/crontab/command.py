"""The last field of a crontab line, with the shell's command, its standard input, and the job's name.

`split` follows do_command.c of Debian's cron. The first `%` ends the command and begins its standard input.
"""

import re
from collections.abc import Iterator

from chalicelib.crontab import percent
from chalicelib.crontab.diagnostics import LineDiagnostic, short
from chalicelib.crontab.lambda_image import BUILTINS, ELSEWHERE, INSTALLED

MAX_COMMAND = 1000  # cron.h; a command of 999 bytes or more counts as cut off and is refused

_PIECES = re.compile(r"\\(.)|[\\%]|[^\\%]+", re.DOTALL)
_WORDS = re.compile(r"[a-z0-9]+")
_FOLDERS = re.compile(r"(?<![\w.])/?(?:[\w.~-]+/)+")


def split(raw: str) -> tuple[str, str]:
    """The command and its standard input. In the command `\\%` is `%` and a doubled backslash is one."""
    if "%" not in raw and "\\" not in raw:
        return raw, ""
    command: list[str] = []
    for piece in _PIECES.finditer(raw):
        if piece[0] == "%":
            return "".join(command), _stdin(raw[piece.end() :])
        command.append(piece[1] if piece[1] and piece[1] in "%\\" else piece[0])
    return "".join(command), ""


def first_percent(raw: str) -> int | None:
    """The index of the `%` that ends the command, or None."""
    return next((piece.start() for piece in _PIECES.finditer(raw) if piece[0] == "%"), None)


def _stdin(raw: str) -> str:
    """Every `%` is a newline and `\\%` is `%`; a last line that does not end is ended, as the daemon does."""
    out, escaped, open_line = [], False, False
    for char in raw:
        if escaped and char != "%":
            out.append("\\")
        elif char == "%" and not escaped:
            char = "\n"
        escaped = char == "\\"
        if not escaped:
            out.append(char)
            open_line = char != "\n"
    return "".join(out) + ("\\" if escaped else "") + ("\n" if open_line else "")


def too_long(raw: str) -> bool:
    """Whether Debian refuses the command for its length in bytes."""
    return len(raw) * 4 >= MAX_COMMAND and len(raw.encode()) >= MAX_COMMAND - 1


def name(file: str, command: str) -> str:
    """The name of a new job that nobody has named. Several jobs may have it, which identity.py numbers."""
    return f"{prefix(file)}/{slug(command)}"


def prefix(file: str) -> str:
    """The part of job names for the file, which is its name without folder and suffix."""
    last = file.replace("\\", "/").rpartition("/")[2]
    return re.sub(r"[^A-Za-z0-9._-]+", "-", re.sub(r"\.(ya?ml|py)$", "", last)) or "file"


def slug(command: str, limit: int = 32) -> str:
    """The words of `command` without folders, in lower case, joined by `-`, cut at a whole word."""
    words = _WORDS.findall(_FOLDERS.sub("", command[:200]).lower()) or ["job"]
    while len(words) > 1 and len("-".join(words)) > limit:
        words.pop()
    return "-".join(words)[:limit]


_PROGRAMS = INSTALLED | BUILTINS | ELSEWHERE | {"if", "for", "while", "until", "case"}
# Programs after which users are called, too.
_ACCOUNTS = frozenset({"sync", "mail", "install", "git", "mysql", "mariadb", "node", "ansible", "sendmail", "composer"})
_USERS = frozenset({"root", "www-data", "nobody", "ubuntu", "ec2-user", "admin", "postgres", "nginx", "apache",
                    "debian", "centos", "vagrant", "httpd", "jenkins", "gitlab-runner", "webapp"})
# A command cannot begin so: an option, a redirection, or an operator.
_NO_COMMAND = re.compile(r"-|[0-9]?>|&[&>]|\||;")
_SUFFIX = re.compile(r".*\.(?:sh|py|php|pl|rb|js|jar|bash)")


def wrong_format(system: bool, user: str, raw: str, column: int) -> Iterator[LineDiagnostic]:
    """Signs that the file lies in the folder of the other format. `raw` is the command. Both begin at `column`."""
    command = raw.lstrip(" \t")
    first, _, rest = command.partition(" ")
    if system and (why := _no_user(user, command)):
        message = f"{user!r} counts as the user, because files in cron.d name one before the command. {why}"
        yield LineDiagnostic(column, "user-column", message,
                             "write the user's name before it, or move the file to crontabs/")
    if not system and rest and (first in _USERS or first == user):
        message = f"{first!r} counts as the command, because files in crontabs name no user"
        yield LineDiagnostic(column, "user-column", message, "remove it, or move the file to cron.d/")


def _no_user(user: str, command: str) -> str:
    """Why `user` is rather a program. Empty if it is not."""
    first = command.split()[0] if command.strip() else ""
    ambiguous = user in _ACCOUNTS and (first in _PROGRAMS or not re.fullmatch(r"[\w:-]+", first))
    if (user in _PROGRAMS and not ambiguous) or _SUFFIX.fullmatch(user):
        return "That is a program's name"
    return f"No command begins with {short(first, 20)}" if _NO_COMMAND.match(command) else ""


def surprises(raw: str, column: int) -> Iterator[LineDiagnostic]:
    """The probable mistakes in a command field. `raw` is the field as written."""
    command, stdin = split(raw)
    if not command.strip():
        yield LineDiagnostic(column, "empty-command", "there is no command, so nothing runs",
                             "write one or remove the line")
    elif (at := first_percent(raw)) is not None and percent.accident(command, raw, at, stdin):
        message = "the first % ends the command and begins its standard input"
        yield LineDiagnostic(column + at, "percent", message, "write \\% where a percent sign is meant")
    if raw.endswith("\\"):
        message = "a backslash at the end does not continue the line. Cron knows no continuation"
        yield LineDiagnostic(column + len(raw) - 1, "continuation", message, "write the command on one line")

