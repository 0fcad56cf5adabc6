"""Lines that set a variable, as Debian's cron reads them (`load_env` of env.c), in the form `NAME = value`.

There is no expansion, `#` does not begin a comment, and a value without quotes cannot be empty.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from chalicelib.crontab import zones
from chalicelib.crontab.diagnostics import LineDiagnostic, short

LONGEST = 998  # bytes of the line: cron.h's MAX_ENVSTR, less what get_string keeps for itself

# C's isspace without the newline.
_S = r"[ \t\v\f\r]"
_LINE = re.compile(
    rf"""(?: "(?P<name1>[^"=]*)" | '(?P<name2>[^'=]*)' | (?P<name3>(?:[^'"= \t\v\f\r][^= \t\v\f\r]*)?) )
    {_S}*+={_S}*+
    (?: "(?P<value1>[^"]*)"{_S}* | '(?P<value2>[^']*)'{_S}* | (?P<value3>[^'" \t\v\f\r].*) )""",
    re.VERBOSE | re.DOTALL,
)
_NAMES, _VALUES = ("name1", "name2", "name3"), ("value1", "value2", "value3")
_EXPANSION = re.compile(r"\$(?:\w+|\{\w+|\()")
_BLANKS = " \t\v\f\r"


class Setting(NamedTuple):
    """A variable that a line sets. `column` (from 1) is where the value begins, quotes included."""

    name: str
    value: str
    column: int


def read(line: str) -> Setting | None:
    """The variable that `line` sets, or None if Debian does not take it for such a line."""
    seen = cut(line)
    found = _LINE.fullmatch(seen) if "=" in seen else None
    if found is None:
        return None
    start = len(line) - len(line.lstrip(" \t"))
    which = next(group for group in _NAMES if found[group] is not None)
    kind = next(group for group in _VALUES if found[group] is not None)
    return Setting(found[which], _unquote(found[kind].rstrip(_BLANKS)), start + found.start(kind) + (kind == "value3"))


def cut(line: str) -> str:
    """The part of a line that Debian reads, its first 998 bytes after leading blanks."""
    seen = line.lstrip(" \t")
    if len(seen) * 4 <= LONGEST:
        return seen
    return seen.encode("utf-8", "surrogateescape")[:LONGEST].decode("utf-8", "surrogateescape")


def _unquote(value: str) -> str:
    """Debian removes quotes a second time, so `"'x'"` is x."""
    quoted = len(value) >= 2 and value[0] in "'\"" and value[-1] == value[0]
    return value[1:-1] if quoted else value


def surprises(line: str, setting: Setting) -> Iterator[LineDiagnostic]:
    """The probable mistakes in such a line."""
    name, value, column = setting
    if cut(line) != line.lstrip(" \t"):
        yield LineDiagnostic(column, "environment-cut", f"cron reads only {LONGEST} bytes of the line",
                             "shorten the value")
    if _EXPANSION.search(value):
        message = f"{short(value)} stays as it stands. Cron expands no variables here"
        yield LineDiagnostic(column, "no-expansion", message, "write the value in full, or set it in the command")
    if re.search(r"\s#", value):
        yield LineDiagnostic(
            column, "no-comment", "the # and the rest are part of the value", "put comments on their own lines"
        )
    if not name:
        yield LineDiagnostic(1, "no-name", "the line sets a variable without a name", "write NAME=value")
    if name == "TZ":
        message = "TZ goes to the commands but does not move their schedules"
        yield LineDiagnostic(column, "tz", message, "write CRON_TZ to move the schedules of the lines below")
    if name == "CRON_TZ":
        yield from bad_zone(value, column)


def bad_zone(name: str, column: int) -> Iterator[LineDiagnostic]:
    """An error if `name` is not in the tz database. Exact spelling counts."""
    try:
        zones.zone(name)
    except zones.UnknownZone as error:
        message, _, remedy = str(error).partition(": ")
        yield LineDiagnostic(column, "unknown-zone", message, remedy, "error")
