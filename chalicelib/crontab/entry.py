"""One line of a crontab that is a job, with schedule, user if the file names one, and command (`load_entry` of
entry.c)."""

import re

import msgspec

from chalicelib.crontab import command, lint
from chalicelib.crontab.diagnostics import LineDiagnostic, short
from chalicelib.crontab.expression import ExpressionError, Reading, Reboot
from chalicelib.crontab.expression import read as read_schedule

# Names that a passwd file of Debian may hold.
_USER = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}\$?")
_ENDS = re.compile(r"[ \t]")


class Entry(msgspec.Struct, frozen=True):
    """The content of the line. `raw` is the command field as written, which begins at `column` (from 1)."""

    reading: Reading
    user: str
    raw: str
    column: int


class Refusal(Exception):
    """A line that is no job. An error is what Debian refuses, and with it the whole file."""

    def __init__(self, found: LineDiagnostic) -> None:
        super().__init__(found.message)
        self.found = found


def read(line: str, owner: str | None, last: bool) -> Entry:
    """The job on `line`. `Refusal` says why there is none.

    `owner` is whose file it is, None if each line names a user. `last` means that no blank follows in the file. Debian
    reads a user's name to the next blank, on any line.
    """
    try:
        reading = read_schedule(line)
    except Reboot as error:
        _rest(line, error.end, owner, last)
        left_out = msgspec.structs.replace(lint.error_for(error, line), severity="warning",
                                           message="@reboot names no time, so the line is left out")
        raise Refusal(left_out) from None
    except ExpressionError as error:
        raise Refusal(lint.error_for(error, line)) from None
    return Entry(reading, *_rest(line, reading.end, owner, last))


def _rest(line: str, end: int, owner: str | None, last: bool) -> tuple[str, str, int]:
    """The user, the command field and its column, of the part of `line` behind its schedule."""
    rest, column = line[end:], end + 1
    if owner is None:
        user = _user(line, rest, column, last)
        column += len(user) + 1
        return user, _command(rest[len(user) + 1 :], column), column
    if rest.startswith("*"):
        remedy = lint.six_fields(line) or "a command cannot begin with *, and cron has five fields of time"
        raise Refusal(LineDiagnostic(column, "bad-command", "bad command", remedy, "error"))
    return owner, _command(rest, column), column


def _user(line: str, rest: str, column: int, last: bool) -> str:
    found = _ENDS.search(rest)
    if found and _USER.fullmatch(rest[: found.start()]):
        return rest[: found.start()]
    message = "bad command" if last and not found else "bad username"
    where = "files in cron.d name a user before the command"
    what = f"{short(rest[: found.start()])} is no user" if found else "no command follows a user here"
    remedy = f"{what}: {where}, as in `0 3 * * * root date`. Move the file to crontabs/ if it names none"
    remedy = lint.six_fields(line) or remedy
    raise Refusal(LineDiagnostic(column, message.replace(" ", "-"), message, remedy, "error"))


def _command(raw: str, column: int) -> str:
    if command.too_long(raw):
        remedy = f"put it into a script, since Debian takes at most {command.MAX_COMMAND - 2} bytes"
        raise Refusal(LineDiagnostic(column, "command-too-long", "command too long", remedy, "error"))
    return raw
