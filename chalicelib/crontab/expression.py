"""One schedule, understood exactly as Debian's cron 3.0pl1-162 understands it.

Facts come from `load_entry` in that package's entry.c. The tests compare with results of the compiled parser. Surprises
beside those of the fields (fields.py). A field counts as starred by its first character alone.
"""

import re

import msgspec

from chalicelib.crontab.fields import FIELDS, WEEK, Refused, Token, read_field


class ExpressionError(ValueError):
    """A schedule that Debian rejects, with the `field`, its 1-based `column`, and Debian's own `message`."""

    def __init__(self, field: str, column: int, message: str) -> None:
        super().__init__(f"{message} at column {column}")
        self.field = field
        self.column = column
        self.message = message


class Expression(msgspec.Struct, frozen=True):
    """One schedule. Each field is an int used as a bit set (bit v = value v).

    `dow` uses bits 0 to 6, 0 = Sunday. `dom_star` and `dow_star` mean that the field's first character is `*`.
    `wildcard` means that the minute or the hour starts with `*`, or the schedule is `@hourly`. When the clock jumps,
    such a job follows the wall clock, while the others make up for skipped minutes and do not repeat.
    """

    minute: int
    hour: int
    dom: int
    month: int
    dow: int
    dom_star: bool
    dow_star: bool
    wildcard: bool

    @property
    def both_days(self) -> bool:
        """Whether day-of-month *and* day-of-week must match. Otherwise either does (cron.c, `find_jobs`)."""
        return self.dom_star or self.dow_star


_BLANKS = re.compile(r"[ \t]*")
_NONBLANKS = re.compile(r"[^ \t\n]+")


_DAY, _MONTH = FIELDS[2].full, FIELDS[3].full


def _special(dom: int, month: int, dow: int, *, star: str = "", hour: int = 1, wildcard: bool = False) -> Expression:
    return Expression(1, hour, dom, month, dow, star == "dom", star == "dow", wildcard)


# Debian stars only one of the two day fields of @yearly, @monthly and @weekly, and none of @daily and @hourly.
SPECIALS = {
    "yearly": _special(0b10, 0b10, WEEK, star="dow"),
    "annually": _special(0b10, 0b10, WEEK, star="dow"),
    "monthly": _special(0b10, _MONTH, WEEK, star="dow"),
    "weekly": _special(_DAY, _MONTH, 1, star="dom"),
    "daily": _special(_DAY, _MONTH, WEEK),
    "midnight": _special(_DAY, _MONTH, WEEK),
    "hourly": _special(_DAY, _MONTH, WEEK, hour=FIELDS[1].full, wildcard=True),
}


class Reading(msgspec.Struct, frozen=True):
    """A line's schedule, with the expression, its text with single blanks, its tokens with columns, and its end.

    `end` is the 0-based index in the line of what follows the schedule, blanks skipped. `tokens` is empty for `@`.
    `odd` means that Debian ignores part of a token, or a range in it is empty.
    """

    expression: Expression
    text: str
    tokens: tuple[str, ...]
    columns: tuple[int, ...]
    end: int
    odd: bool = False


class Reboot(ExpressionError):
    """`@reboot`. Debian accepts it, but no machine boots here. `end` is that of `Reading`."""

    def __init__(self, column: int, end: int) -> None:
        super().__init__("time specifier", column, "@reboot names no time")
        self.end = end


def read(line: str) -> Reading:
    """The schedule at the beginning of `line` (a line of a crontab without its newline). `ExpressionError` if bad."""
    start = _skip(line, 0)
    if line.startswith("@", start):
        return _read_special(line, start)
    tokens, fields, starts, at = [], [], [], start
    for index in range(len(FIELDS)):
        token, found = _read_field(line, at, index)
        tokens.append(token)
        fields.append(found)
        starts.append(at + 1)
        at = _skip(line, at + len(token))
    odd = any(found.odd for found in fields)
    expression = _expression([found.values for found in fields], tokens)
    return Reading(expression, " ".join(tokens), tuple(tokens), tuple(starts), at, odd)


def _read_field(line: str, at: int, index: int) -> tuple[str, Token]:
    found = _NONBLANKS.match(line, at)
    token = found[0] if found else ""
    try:
        return token, read_field(index, token)
    except Refused:
        name = FIELDS[index].name
        raise ExpressionError(name, at + 1, f"bad {name}") from None


def _expression(values: list[int], tokens: list[str]) -> Expression:
    minute, hour, dom, month, dow = values
    star = [token.startswith("*") for token in tokens]
    return Expression(minute, hour, dom, month, dow, star[2], star[4], star[0] or star[1])


def _read_special(line: str, start: int) -> Reading:
    found = _NONBLANKS.match(line, start)
    word = found[0] if found else ""
    if word == "@reboot":
        raise Reboot(start + 1, _skip(line, start + len(word)))
    if word[1:] not in SPECIALS:
        raise ExpressionError("time specifier", start + 1, "bad time specifier")
    return Reading(SPECIALS[word[1:]], word, (), (start + 1,), _skip(line, start + len(word)))


def _skip(line: str, at: int) -> int:
    found = _BLANKS.match(line, at)
    return found.end() if found else at


def whole(text: str) -> Reading:
    """The schedule `text`, which must hold nothing else. `ExpressionError` says which field is bad and where."""
    reading = read(text)
    if text[reading.end :].rstrip("\n"):
        raise ExpressionError("command", reading.end + 1, "bad command")
    return reading


def parse(text: str) -> Expression:
    """The expression of `text`, which must hold nothing else. `ExpressionError` says which field is bad and where."""
    return whole(text).expression
