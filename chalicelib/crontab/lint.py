"""The probable mistakes in a schedule, and the corrections of one that Debian rejects.

Only real surprises count. An ordinary line gives none.
"""

import re
from collections.abc import Iterator

from chalicelib.crontab.diagnostics import LineDiagnostic, short
from chalicelib.crontab.expression import Expression, ExpressionError, Reading, Reboot
from chalicelib.crontab.fields import DAYS, FIELDS, MONTHS, WEEK, Refused, read_field

# Days that each month can have, by its number; February's 29th comes every few years.
_LONGEST = (0, 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_ALWAYS = (1 << 30) - 2  # days 1 to 29, which every month has in some year
_DOM, _DOW = 2, 4
_STEP = re.compile(r"\*/([0-9]{1,4})")
_WEEKS = tuple(0b111_1111 << first for first in (1, 8, 15, 22, 25))


def never_matches(expression: Expression) -> bool:
    """Whether no minute of any year matches."""
    if expression.minute and expression.hour and expression.month and expression.dow and expression.dom & _ALWAYS:
        return False
    months = [month for month in range(1, 13) if expression.month >> month & 1]
    dated = any(expression.dom & (2 << _LONGEST[month]) - 1 for month in months)
    days = dated and expression.dow if expression.both_days else dated or expression.dow
    return not (expression.minute and expression.hour and months and days)


def warnings(reading: Reading) -> Iterator[LineDiagnostic]:
    """The surprises of a schedule that Debian accepts."""
    if not reading.tokens:
        return
    ignored = list(_ignored(reading)) if reading.odd else []
    backwards = list(_backwards(reading)) if reading.odd else []
    yield from ignored
    yield from backwards
    if never_matches(reading.expression) and not backwards:
        message = "never runs, because the months have no such day"
        yield LineDiagnostic(reading.columns[_DOM], "never-runs", message, "write a day that comes, or remove the line")
    if not ignored:
        yield from _often(reading)
        yield from _days(reading)


def _ignored(reading: Reading) -> Iterator[LineDiagnostic]:
    for index, token in enumerate(reading.tokens):
        used = read_field(index, token).used
        if used < len(token):
            message = f"of {short(token)} only {short(token[:used])} is read"
            remedy = f"write {short(token[:used])} if that is meant. The rest is not cron's language"
            yield LineDiagnostic(reading.columns[index] + used, "ignored-text", message, remedy)


def _backwards(reading: Reading) -> Iterator[LineDiagnostic]:
    dead = never_matches(reading.expression)
    for index, token in enumerate(reading.tokens):
        for text in read_field(index, token).empty_ranges:
            message = f"never runs, because {text} is empty" if dead else f"{text} is empty and matches nothing"
            code = "never-runs" if dead else "empty-range"
            yield LineDiagnostic(reading.columns[index], code, f"{message}, for ranges only go up",
                                 _upwards(index, text))


def _upwards(index: int, text: str) -> str:
    first, _, last = text.partition("/")[0].partition("-")
    if index == _DOW and last.lower() in ("sun", "0"):
        return f"write {first}-7"
    field = FIELDS[index]
    return f"write {first}-{min(field.high, 6) if index == _DOW else field.high},{field.low}-{last}"


def _often(reading: Reading) -> Iterator[LineDiagnostic]:
    if reading.tokens[0] == "*" and re.fullmatch(r"[0-9]+", reading.tokens[1]):
        message = f"runs 60 times, at every minute of hour {int(reading.tokens[1])}"
        yield LineDiagnostic(reading.columns[0], "every-minute", message, "write a minute, or */1 if that is meant")
    for index, unit, whole in ((0, "minutes", 60), (1, "hours", 24)):
        step = _STEP.fullmatch(reading.tokens[index])
        if step and int(step[1]) > whole // 2:
            times = ", ".join(str(value) for value in range(0, whole, int(step[1])))
            message = f"{step[0]} is not every {step[1]} {unit}: it matches {FIELDS[index].name} {times} alone"
            remedy = f"write {times.replace(' ', '')} if that is meant"
            yield LineDiagnostic(reading.columns[index], "uneven-step", message, remedy)


def _days(reading: Reading) -> Iterator[LineDiagnostic]:
    expression = reading.expression
    all_dom, all_dow = expression.dom == FIELDS[_DOM].full, expression.dow == WEEK
    column = reading.columns[_DOM]
    dom, dow = short(reading.tokens[_DOM]), short(reading.tokens[_DOW])
    starred = reading.tokens[_DOM].startswith("*") or reading.tokens[_DOW].startswith("*")
    if expression.both_days and not all_dom and not all_dow:
        message = f"runs only on days that are both {dom} and {dow}, for one of the two begins with *"
        yield LineDiagnostic(column, "both-days", message, "write it without * if either is enough, as in 1-31/2")
    elif not expression.both_days and all_dom != all_dow:
        why = "neither is * alone" if starred else "neither begins with *"
        message = f"runs every day. With {dom} and {dow} one match is enough, for {why}"
        yield LineDiagnostic(column, "either-day", message, "write * for the field that is to match always")
    elif not expression.both_days and starred and not all_dom:
        message = f"runs on {dom} and also on {dow}. In a cron.yaml one match is enough, other than under cron"
        yield LineDiagnostic(column, "either-day", message, "write * for the field that is to match always")
    elif not expression.both_days and expression.dom in _WEEKS and expression.dow.bit_count() == 1:
        message = f"runs on {dom} and also on every {dow}. One match is enough"
        yield LineDiagnostic(column, "either-day", message,
                             "write * for day-of-week and test the weekday in the command")


_FOREIGN = re.compile(r"[?LWHRlwhr]|[0-9]+[LWlw]|[hH]\(.*|.*#.*")
_RANGES = {
    "minute": "0-59",
    "hour": "0-23",
    "day-of-month": "1-31",
    "month": "1-12 or jan-dec",
    "day-of-week": "0-7 or sun-sat",
}


def error_for(error: ExpressionError, line: str) -> LineDiagnostic:
    """The finding that `line` has a schedule which Debian refuses, or which cannot be honoured here."""
    code = "reboot" if isinstance(error, Reboot) else error.message.replace(" ", "-")
    return LineDiagnostic(error.column, code, error.message, _cure(error, line), "error")


def _cure(error: ExpressionError, line: str) -> str:
    """The correction of the part of `line` that Debian rejects."""
    found = re.compile(r"[^ \t\r\n]*").match(line, error.column - 1)
    token = found[0] if found else ""
    if error.field == "command":
        return six_fields(line) or "write a schedule alone, five fields without a command"
    if error.field == "time specifier":
        return _specifier(token)
    return _whole_line(error, line, token) or six_fields(line) or _token(error.field, token)


def _specifier(word: str) -> str:
    if word == "@reboot":
        return "give it a schedule, since nothing here reboots. A step after a release belongs to the release"
    if word.lower() in ("@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"):
        return f"write {word.lower()}, in small letters"
    return "write @yearly, @monthly, @weekly, @daily or @hourly, or five fields"


def _whole_line(error: ExpressionError, line: str, token: str) -> str:
    if line.startswith("\ufeff"):
        return "remove the byte order mark at the beginning of the file"
    if re.match(r"[ \t]*(?:export|set)[ \t]+\w+=", line):
        return "write NAME=value: this is not a shell script"
    if empty := re.match(r"[ \t]*(\w+)[ \t]*=[ \t\r]*$", line):
        return f'write {empty[1]}="": cron knows no empty value without quotes'
    if re.match(r"[ \t]*\w+[ \t]*=", line):
        return "write NAME=value, with a matching quote at the end and nothing after it"
    if not token:
        return f"the line ends before its {error.field}. Write five fields and a command"
    return ""


def _token(field: str, token: str) -> str:
    word, lowered = short(token), token.lower()
    if re.fullmatch(r"[0-9]+/[0-9]+", token):
        return f"write {token.split('/')[0]}-{_RANGES[field].split(' ')[0].split('-')[-1]}/{token.split('/')[1]}"
    if lowered[:3] in MONTHS and field != "month" and not lowered.isdigit():
        return f"{word} is not a {field}. Months stand in the fourth field, by their first three letters"
    if lowered[:3] in DAYS and not lowered.isdigit():
        return f"{word} is not a {field}. Weekdays stand in the fifth field, by their first three letters"
    if _FOREIGN.fullmatch(token):
        return f"{word} is of another scheduler's language. Cron takes numbers, *, lists, ranges and steps"
    return f"{word} is not a {field}. Write {_RANGES[field]}, *, or lists, ranges and steps of them"


# A field of time of any scheduler: digits and signs, or names of days and months.
_WORD = rf"(?:{'|'.join((*DAYS, *MONTHS))})[a-z]*"
_TIME = re.compile(rf"(?=[^-/]*[0-9*?L]|l$)[0-9*?,/LWC#-]+|{_WORD}(?:[-,/#]{_WORD}|[-,/#][0-9]+)*L?", re.I)
_YEAR = re.compile(r"\*(?:/[0-9]+)?|(?:19|20)[0-9]{2}(?:[-,/][0-9]+)*")


def six_fields(line: str) -> str:
    """The correction of a line that begins with six fields of time. Empty if it does not."""
    fields = re.split(r"[ \t]+", line.strip(" \t"))[:6]
    if len(fields) < 6 or not all(map(_TIME.fullmatch, fields)):
        return ""
    # AWS has `?` in the fields of days of `minute hour day month day year`, Quartz one field further on.
    aws = "?" in (fields[2], fields[4])
    plain = [field.replace("?", "*") for field in fields]
    choices = []
    if not aws and _readable(plain[1:]):
        choices.append(f"`{' '.join(plain[1:])}` if the first field is seconds")
    if _YEAR.fullmatch(plain[5]) and _readable(plain[:5]):
        choices.append(f"`{' '.join(plain[:5])}` if the last field is the year")
    if plain[1:] == plain[:5]:
        choices = [f"`{' '.join(plain[:5])}`"]
    return f"this line has six fields of time, and cron has five. Write {', or '.join(choices) or 'five'}"


def _readable(fields: list[str]) -> bool:
    try:
        for index, field in enumerate(fields):
            read_field(index, field)
    except Refused:
        return False
    return True


def sixth(reading: Reading, line: str, system: bool) -> Iterator[LineDiagnostic]:
    """A sixth field of time in a line that Debian accepts. It stands where a `system` file names the user."""
    if reading.tokens and (remedy := six_fields(line)):
        message = f"{short(line[reading.end :].split()[0])} counts as the {'user' if system else 'command'}"
        yield LineDiagnostic(reading.end + 1, "six-fields", message, remedy)
