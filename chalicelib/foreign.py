"""JSON and text of foreign origin, which may be of any shape. Pure.

Items that others wrote, messages, the output of jobs and the errors of servers come through here. `decode` never fails
in any way but one.
"""

from typing import Any, TypeVar

import msgspec

T = TypeVar("T")


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


def _small(text: str) -> str:
    """A sentence as it goes on after a colon."""
    return text if text[1:2].isupper() else f"{text[:1].lower()}{text[1:]}"
