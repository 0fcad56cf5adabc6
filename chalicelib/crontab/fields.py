"""One field of a schedule, read character by character as Debian's cron does (get_list and what it calls, in entry.c).

A field ends at the first character that is neither part of a range nor a comma. The rest of it is skipped unread, so
`5;x` is 5 and `*5` is `*`. A range that runs backwards is empty.
"""

import re
from functools import lru_cache

import msgspec

MAX_WORD = 1000  # cron.h: MAX_TEMPSTR, the room for one number or name, its terminator included

MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_LONG_MAX = 2**63 - 1
_INT_MAX = 2**31 - 1


class Field(msgspec.Struct, frozen=True):
    """The values of one of the five fields, which are `low` to `high`, and the names of values."""

    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()

    @property
    def full(self) -> int:
        """The set of all values of the field (bit v = value v)."""
        return (1 << self.high + 1) - (1 << self.low)


# Days of the week go to 7 while a field is read: 7 is Sunday too, and is folded into 0 afterwards.
FIELDS = (
    Field("minute", 0, 59),
    Field("hour", 0, 23),
    Field("day-of-month", 1, 31),
    Field("month", 1, 12, MONTHS),
    Field("day-of-week", 0, 7, DAYS),
)
WEEK = 0b111_1111


class Token(msgspec.Struct, frozen=True):
    """One field, with its value set, and the number of characters that Debian read before it skipped the rest.

    `odd` means that Debian skipped some characters, or some ranges are empty.
    """

    values: int
    used: int
    empty_ranges: tuple[str, ...] = ()
    odd: bool = False


class Refused(Exception):
    """A token that Debian refuses."""


_CACHED = 64  # longer texts are rare, or hostile: not worth keeping
_WORD = re.compile(r"[0-9A-Za-z]+")


def _number(token: str, at: int, low: int, names: tuple[str, ...]) -> tuple[int, int]:
    found = _WORD.match(token, at)
    if found is None or len(found[0]) >= MAX_WORD:
        raise Refused
    word = found[0].lower()
    if word in names:
        return names.index(word) + low, found.end()
    if not word.isdigit():
        raise Refused
    return _atoi(word), found.end()


def _atoi(digits: str) -> int:
    """C's atoi on 64-bit Linux, which saturates as a long and then truncates to 32 bits. 4294967301 is 5."""
    return (min(int(digits), _LONG_MAX) + 2**31) % 2**32 - 2**31


def _range(token: str, at: int, field: Field) -> tuple[int, int]:
    """The values of the range that begins at `at`, and where it ends."""
    if token.startswith("*", at):
        first, last, at = field.low, field.high, at + 1
    else:
        first, at = _number(token, at, field.low, field.names)
        if not token.startswith("-", at):
            return _single(token, at, first, field)
        last, at = _number(token, at + 1, field.low, field.names)
    step = 1
    if token.startswith("/", at):
        step, at = _number(token, at + 1, 0, ())
    if step <= 0 or not (field.low <= first <= field.high and field.low <= last <= field.high):
        raise Refused
    return _steps(first, last, step), at


def _steps(first: int, last: int, step: int) -> int:
    values = range(first, last + 1, step)
    if values and values[-1] + step > _INT_MAX:
        raise Refused  # Debian's counter wraps round to a negative value, which it then refuses
    return (1 << last + 1) - (1 << first) if values and step == 1 else sum(1 << value for value in values)


def _single(token: str, at: int, value: int, field: Field) -> tuple[int, int]:
    if token.startswith("/", at) or not field.low <= value <= field.high:
        raise Refused
    return 1 << value, at


def read_field(index: int, token: str) -> Token:
    """Field number `index` (0 to 4) from a text without blanks. `Refused` if Debian refuses it."""
    return _cached(index, token) if len(token) <= _CACHED else _read_token(index, token)


@lru_cache(maxsize=4096)
def _cached(index: int, token: str) -> Token:
    return _read_token(index, token)


def _read_token(index: int, token: str) -> Token:
    field, values, at, empty = FIELDS[index], 0, 0, []
    while True:
        found, end = _range(token, at, field)
        if not found:
            empty.append(token[at:end])
        values, at = values | found, end
        if not token.startswith(",", at):
            odd = bool(empty) or at < len(token)
            return Token(_fold(values) if index == 4 else values, at, tuple(empty), odd)
        at += 1


def _fold(days: int) -> int:
    return (days | days >> 7) & WEEK
