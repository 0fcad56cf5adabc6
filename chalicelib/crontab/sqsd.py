"""Schedules of a cron.yaml, as Elastic Beanstalk's worker daemon understands them with Ruby's parse-cron 0.1.4.

The tests compare with results of that library. Its day rule differs from Debian's: only a field that is `*` alone gives
way to the other one, so with `*/2` and `mon` one match is enough. It ignores a sixth field. It refuses more texts, as
`1.5`, and takes names in any field. Three of its faults are not repeated: numbers that are out of range, ranges that go
down, and a run on the 1st of a month without the day.
"""

import re

from chalicelib.crontab.expression import SPECIALS, Expression, ExpressionError, Reading
from chalicelib.crontab.fields import DAYS, FIELDS, MONTHS, WEEK, Refused, read_field

_NAMES = {name: str(number) for names, first in ((MONTHS, 1), (DAYS, 0)) for number, name in enumerate(names, first)}
_NAME = re.compile("|".join(_NAMES))
# A step of `*` is read to the first character that is no digit.
_STAR = re.compile(r"\*(?:[^,]([0-9]+)[^,]*)?")
_NUMBERS = re.compile(r"([0-9]{1,9})(?:-([0-9]{1,9})(?:/([0-9]{1,9}))?)?")


def read(text: str) -> Reading:
    """The schedule `text`, with a sixth field left out. `ExpressionError` if the daemon would refuse it."""
    if text.startswith("@"):
        if text[1:] not in SPECIALS:
            what = "@reboot names no time" if text == "@reboot" else "bad time specifier"
            raise ExpressionError("time specifier", 1, what)
        return Reading(SPECIALS[text[1:]], text, (), (1,), len(text))
    tokens = [(found[0], found.start() + 1) for found in re.finditer(r"\S+", text)]
    if len(tokens) > len(FIELDS) + 1:
        raise ExpressionError("command", tokens[6][1], "bad command")
    if text[:1].isspace():
        raise ExpressionError("minute", 1, "bad minute")
    tokens = tokens[: len(FIELDS)]
    values = [_field(index, *token) for index, token in enumerate(tokens)]
    if len(tokens) < len(FIELDS):
        missing = FIELDS[len(tokens)].name
        raise ExpressionError(missing, len(text.rstrip()) + 1, f"bad {missing}")
    minute, hour, dom, month, dow = values
    words = tuple(word for word, _ in tokens)
    starred = [word.startswith("*") for word in words]
    # A day field gives way only if it is `*` alone.
    expression = Expression(minute, hour, dom, month, (dow | dow >> 7) & WEEK, words[2] == "*", words[4] == "*",
                            starred[0] or starred[1])
    return Reading(expression, " ".join(words), words, tuple(column for _, column in tokens), len(text), _odd(words))


def _odd(words: tuple[str, ...]) -> bool:
    """Whether a range goes down. Texts that Debian reads otherwise than the daemon do not count."""
    try:
        return any(read_field(index, word).empty_ranges for index, word in enumerate(words)) and all(
            read_field(index, word).used == len(word) for index, word in enumerate(words))
    except Refused:
        return False


def sixth(text: str) -> int:
    """The column of a sixth field, which the daemon ignores. 0 if there is none."""
    tokens = list(re.finditer(r"\S+", text))
    return tokens[5].start() + 1 if len(tokens) > len(FIELDS) else 0


def _field(index: int, token: str, column: int) -> int:
    """The values of one field as a bit set."""
    field, found = FIELDS[index], 0
    high = 6 if field.high == 7 else field.high
    for part in _NAME.sub(lambda name: _NAMES[name[0]], token.lower()).rstrip(",").split(","):
        star, numbers = _STAR.fullmatch(part), _NUMBERS.fullmatch(part)
        if star:
            first, last, step = field.low, high, int(star[1] or 1)
        elif numbers:
            first, last, step = int(numbers[1]), int(numbers[2] or numbers[1]), int(numbers[3] or 1)
        else:
            raise ExpressionError(field.name, column, f"bad {field.name}")
        if step == 0 or not (field.low <= first <= field.high and field.low <= last <= field.high):
            raise ExpressionError(field.name, column, f"bad {field.name}")
        found |= sum(1 << value for value in range(first, last + 1, step))
    return found
