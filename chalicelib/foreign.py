"""JSON and text of foreign origin, which may be of any shape. Pure.

Items that others wrote, messages, the output of jobs and the errors of servers come through here. `decode` fails in one
way only. `line`, `lines` and `plain` make of a text what a notice or a terminal may show.
"""

from datetime import UTC, datetime
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")

# The end of the year 9999, the last one that a `datetime` can have (epoch seconds).
LAST_TIME = 253_402_300_799.0


class Undecodable(Exception):
    """The text is not JSON of the wanted shape. The message says why, after a `because` or in brackets."""


def decode(text: str | bytes, type: type[T] | Any = Any) -> T | Any:
    """`text` as a value of `type`. Raises `Undecodable`, and nothing else, whatever the text holds."""
    try:
        return msgspec.json.decode(text, type=type)
    except RecursionError:
        # 1,000 brackets are enough.
        raise Undecodable("it nests too deeply") from None
    except UnicodeEncodeError:
        raise Undecodable("it holds half of a surrogate pair, which is not text") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Undecodable(_small(str(error))) from None


def line(text: str) -> str:
    """`text` as one line without control characters.

    Line breaks and tabs become spaces. Anything else that is not printable is escaped, such as ESC as `\\x1b`.
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else " " if char.isspace() else _escaped(char) for char in text)


def lines(text: str, margin: str = "  | ") -> list[str]:
    """The lines of `text`, each behind a margin. So none of them can pass for a heading or a line of our own."""
    return [margin + line(one) for one in text.splitlines()]


def moment(at: float, form: str) -> str:
    """A stored time in epoch seconds as `form` has it (see `strftime`).

    It may be no time at all, for example when somebody has written milliseconds.
    """
    if not 0 <= at <= LAST_TIME:
        return f"an unknown time (the record has {at:g})"
    return f"{datetime.fromtimestamp(at, UTC):{form}}"


def plain(value: Any) -> Any:
    """A JSON value with each text in it as `line` has it."""
    if isinstance(value, str):
        return line(value)
    if isinstance(value, dict):
        return {plain(key): plain(inner) for key, inner in value.items()}
    return [plain(inner) for inner in value] if isinstance(value, list | tuple) else value


def _escaped(char: str) -> str:
    return char.encode("unicode_escape").decode()


def _small(text: str) -> str:
    """A sentence as it goes on after a colon."""
    return text if text[1:2].isupper() else f"{text[:1].lower()}{text[1:]}"
