"""The simple commands of a shell command line, as far as they can be known without running it.

It follows "Shell Command Language" of POSIX (sections 2.2, 2.3, 2.6, 2.7, 2.9, 2.10) and bash's `((`, `[[`, `<(`, `&>`.
A word keeps what is written in it. `UNKNOWN` stands in it for parts that
only a run can tell, and `HOME` for a home folder.
"""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

# A part of a word that an expansion or a pattern makes.
UNKNOWN = "\0"
# `~`, `$HOME` and `${HOME}`.
HOME = "\1"
# No command of people nests deeper, and nothing deeper is read.
_DEEPEST = 40

_OPERATOR = re.compile(r";;&|;;|;&|&&|\|\||\|&|[;|&\n]")
_REDIRECTION = re.compile(r"\d*(?:<<<|<<-?|>>|>&|<&|>\||<>|>|<)(?!\()|&>>?")
_ENDS_WORD = frozenset(" \t\n;|&()<>")
_PLAIN_VALUE = re.compile(r"[\w./:@%+,-]*")
_VARIABLE = re.compile(r"\$(?:[A-Za-z_]\w*|[0-9@*#?$!-])")
# The words that begin and end the condition of `if`, `while` and `until`.
_TESTS, _ENDS_TEST = frozenset({"if", "elif", "while", "until"}), frozenset({"then", "do"})


class Command(NamedTuple):
    """A simple command. `raw` has the words as they are written, and `redirections` pairs of operator and target.

    `before` and `after` are the operators around it, empty at the ends. `depth` counts the subshells and substitutions
    that it stands in. A `condition` decides for `if`, `while` or `until`.
    """

    words: tuple[str, ...]
    raw: tuple[str, ...] = ()
    redirections: tuple[tuple[str, str], ...] = ()
    before: str = ""
    after: str = ""
    depth: int = 0
    condition: bool = False


class Script(NamedTuple):
    """The commands in order, a substitution before the command it stands in. `unclosed` is a quote or bracket that
    never ends."""

    commands: list[Command]
    unclosed: str = ""


def read(text: str, variables: Mapping[str, str] = MappingProxyType({})) -> Script:
    """The commands of `text`, which knows these `variables`. Nothing in it raises an exception."""
    known = {name: value for name, value in variables.items()
             if _PLAIN_VALUE.fullmatch(value) and not re.search(rf"\b{re.escape(name)}=", text)}
    reader = _Reader(text, known)
    reader.script("", 0)
    return Script(_with_conditions(reader.commands), reader.unclosed)


def shown(word: str) -> str:
    """`word` for people."""
    return word.replace(HOME, "~").replace(UNKNOWN, "*")


def _with_conditions(commands: list[Command]) -> list[Command]:
    """The commands, with those marked that stand between `if` and `then`, or `while` and `do`."""
    marked: list[Command] = []
    testing: dict[int, bool] = {}
    for command in commands:
        first = command.words[0] if command.words else ""
        if first in _TESTS or first in _ENDS_TEST:
            testing[command.depth] = first in _TESTS
        marked.append(command._replace(condition=testing.get(command.depth, False)))
    return marked


class _Reader:
    """Goes through the text once. `at` is the next character."""

    def __init__(self, text: str, variables: Mapping[str, str]) -> None:
        self.text = text
        self.variables: dict[str, str] = {"HOME": HOME, **variables}
        self.at = 0
        self.commands: list[Command] = []
        self.unclosed = ""

    def script(self, end: str, depth: int) -> None:
        """Reads commands up to `end`, which is `)`, a backquote, or nothing for the end of the text."""
        words: list[str] = []
        raw: list[str] = []
        redirections: list[tuple[str, str]] = []
        before, level = "", depth

        def flush(operator: str) -> None:
            nonlocal before
            if words or redirections:
                self.commands.append(
                    Command(tuple(words), tuple(raw), tuple(redirections), before, operator, level))
            elif operator == "&" and self.commands:  # of the whole `( ... )` before it
                self.commands[-1] = self.commands[-1]._replace(after="&")
            words.clear()
            raw.clear()
            redirections.clear()
            before = operator

        while self.at < len(self.text):
            char = self.text[self.at]
            if char in " \t" or self.text.startswith("\\\n", self.at):
                self.at += 1 + (char == "\\")
            elif end and char == end and level == depth:
                self.at += 1
                return flush("")
            elif char == "#":
                self.at = (self.text.find("\n", self.at) + 1 or len(self.text) + 1) - 1
            elif self.text.startswith("((", self.at) and not words:
                self.at += 2
                self._arithmetic()
                words.append("((")
                raw.append("((")
            elif char == "(":
                self.at += 1
                flush("(")
                level += 1
            elif char == ")":
                # Without a bracket before it, it ends a pattern of `case`, which is no command.
                self.at += 1
                if level == depth:
                    words.clear()
                    raw.clear()
                flush(")")
                level = max(level - 1, depth)
            elif found := _REDIRECTION.match(self.text, self.at):
                self.at = found.end()
                redirections.append((found[0], self._target(depth)))
            elif found := _OPERATOR.match(self.text, self.at):
                self.at = found.end()
                flush(found[0])
            else:
                start = self.at
                words.append(self._word(level))
                raw.append(self.text[start:self.at])
        flush("")
        if end or level > depth:
            self.unclosed = self.unclosed or "$("

    def _target(self, depth: int) -> str:
        while self.at < len(self.text) and self.text[self.at] in " \t":
            self.at += 1
        return self._word(depth)

    def _word(self, depth: int) -> str:
        pieces: list[str] = []
        start = self.at
        while self.at < len(self.text):
            char = self.text[self.at]
            if char in "<>" and self.text.startswith("(", self.at + 1):
                self.at += 2
                self._inner(")", depth)
                pieces.append(UNKNOWN)
            elif char in _ENDS_WORD:
                break
            elif char == "~" and self.at == start:
                self.at += 1
                pieces.append(self.variables["HOME"])
            elif char in "*?":
                self.at += 1
                pieces.append(UNKNOWN)
            elif char == "'":
                pieces.append(self._until("'"))
            elif char == '"':
                pieces.append(self._double(depth))
            else:
                pieces.append(self._plain(depth))
        return "".join(pieces)

    def _plain(self, depth: int) -> str:
        """The next character outside of single quotes, with all that belongs to it."""
        char, following = self.text[self.at], self.text[self.at + 1:self.at + 2]
        if char == "\\":
            self.at += 2
            return "" if following == "\n" else following
        if char == "`":
            return self._backquoted(depth)
        if char != "$":
            self.at += 1
            return char
        if self.text.startswith("$((", self.at):
            self.at += 3
            self._arithmetic()
        elif following == "(":
            self.at += 2
            self._inner(")", depth)
        elif following == "{":
            return self._braced()
        elif found := _VARIABLE.match(self.text, self.at):
            self.at = found.end()
            return self.variables.get(found[0][1:], UNKNOWN)
        else:
            self.at += 1
            return "" if following == "'" else "$"
        return UNKNOWN

    def _inner(self, end: str, depth: int) -> None:
        if depth >= _DEEPEST:
            self.at = len(self.text)
        else:
            self.script(end, depth + 1)

    def _backquoted(self, depth: int) -> str:
        inner = _Reader(re.sub(r"\\([$`\\])", r"\1", self._until("`", escapes=True)), self.variables)
        if depth < _DEEPEST:
            inner.script("", depth + 1)
        self.commands += inner.commands
        self.unclosed = self.unclosed or inner.unclosed
        return UNKNOWN

    def _until(self, end: str, *, escapes: bool = False) -> str:
        """The text between two `end`, at the first of which the reader is."""
        start = self.at = self.at + 1
        while self.at < len(self.text) and self.text[self.at] != end:
            self.at += 1 + (escapes and self.text[self.at] == "\\")
        found = self.text[start:self.at]
        if self.at >= len(self.text):
            self.unclosed = self.unclosed or end
        self.at = min(self.at + 1, len(self.text))
        return found

    def _double(self, depth: int) -> str:
        pieces: list[str] = []
        self.at += 1
        while self.at < len(self.text):
            char = self.text[self.at]
            if char == '"':
                self.at += 1
                return "".join(pieces)
            if char == "\\" and self.text[self.at + 1:self.at + 2] not in tuple('$`"\\\n'):
                self.at += 1
                pieces.append(char)
            else:
                pieces.append(self._plain(depth))
        self.unclosed = self.unclosed or '"'
        return "".join(pieces)

    def _braced(self) -> str:
        """`${NAME}`, with whatever stands between the braces."""
        start = self.at
        depth = 0
        while self.at < len(self.text):
            char = self.text[self.at]
            self.at += 1 + (char == "\\")
            depth += (char == "{") - (char == "}")
            if not depth and char == "}":
                return self.variables.get(self.text[start + 2 : self.at - 1], UNKNOWN)
        self.at = len(self.text)
        self.unclosed = self.unclosed or "${"
        return UNKNOWN

    def _arithmetic(self) -> None:
        """Goes behind the `))` of an expression."""
        depth = 2
        while self.at < len(self.text) and depth:
            char = self.text[self.at]
            depth += (char == "(") - (char == ")")
            self.at += 1
        if depth:
            self.unclosed = self.unclosed or "$(("
