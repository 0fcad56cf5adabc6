"""The programs that a crontab line starts, and which of them a Lambda does not have.

It leaves alone the unknown: a name that a variable makes, a file that an earlier command may have made.
"""

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from chalicelib.crontab import lambda_image, shell
from chalicelib.crontab.lambda_image import BUILTINS, INSTALLED, PYTHON, PYTHON_FOLDER

_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*\+?=")
_FUNCTION = re.compile(r"([\w-]+)[ \t]*\([ \t]*\)")
# Words before a command, and those behind which none follows on.
_BEFORE = frozenset({"if", "then", "else", "elif", "do", "while", "until", "!", "time", "{"})
_NO_COMMAND = frozenset({"for", "case", "select", "function", "done", "fi", "esac", "}", "in", "[[", "(("})
# Programs whose last words are a command: the number of their own words, and their options that take a word.
_WRAPPERS = {"command": (0, ""), "builtin": (0, ""), "exec": (0, "a"), "env": (0, "uCS"), "nice": (0, "n"),
             "nohup": (0, ""), "timeout": (1, "ks"), "stdbuf": (0, "ioe"), "eval": (0, "")}
# The same of programs that a Lambda lacks.
_LACKING_WRAPPERS = {"sudo": (0, "ugpCTh"), "flock": (1, "wE"), "ionice": (0, "cn"), "setsid": (0, ""),
                     "chronic": (0, ""), "doas": (0, "uC"), "systemd-cat": (0, "tp"), "unbuffer": (0, "")}
_SHELLS = frozenset({"bash", "sh"})
# Folders that have some content in a Lambda, too.
_SHARED = frozenset({"", "/etc", "/usr", "/usr/lib", "/usr/share", "/var", "/lib", "/lib64",
                     *lambda_image.PROGRAM_FOLDERS})
_DEEPEST = 8


class Started(NamedTuple):
    """A program that a line starts, with all of its `words`. `after_cd` means that the line has changed the folder."""

    name: str
    words: tuple[str, ...]
    command: shell.Command
    after_cd: bool


def missing(command: str, environment: Mapping[str, str]) -> list[str]:
    """The programs and folders that `command` needs and a Lambda lacks, in order, each once.

    `environment` has the variables of the line: `PATH` and `SHELL` matter.
    """
    name = environment.get("SHELL", "/bin/sh")
    if name.rpartition("/")[2] not in _SHELLS:
        return [] if has_program(name, [], moved=False) else [name]
    path = environment.get("PATH", "").split(":")
    found: list[str] = []
    for program in started(command, environment):
        if program.name in ("cd", "pushd"):
            folder = program.words[1] if len(program.words) > 1 else shell.HOME
            found += [f"folder {folder}"] if folder.startswith("/") and lacks(folder) else []
        elif not has_program(program.name, path, program.after_cd):
            found.append(program.name)
    return list(dict.fromkeys(found))


def lacks(path: str) -> bool:
    """Whether a Lambda has no such absolute `path`. Of one as `/srv/*.log` only its folder is known."""
    if shell.UNKNOWN not in path:
        return not lambda_image.has(path)
    folder = path[: path.index(shell.UNKNOWN)].rpartition("/")[0]
    return folder not in _SHARED and not lambda_image.has(f"{folder}/{shell.UNKNOWN}")


def started(command: str, environment: Mapping[str, str]) -> list[Started]:
    """The programs that `command` starts, in order, also those in `sh -c '...'` and behind `sudo` or `nice`."""
    return list(_started(command, environment, 0))


def _started(text: str, environment: Mapping[str, str], depth: int) -> Iterator[Started]:
    own = set(_FUNCTION.findall(text))
    moved = False
    for command in shell.read(text, environment).commands:
        words = _inner(command.words)
        while words and words[0] not in own and shell.UNKNOWN not in words[0]:
            yield Started(words[0], words, command, moved)
            moved = moved or words[0] in ("cd", "pushd")
            script = _script(words)
            if script is not None and depth < _DEEPEST:
                for one in _started(script, environment, depth + 1):
                    inner = one.command._replace(after=command.after) if command.after == "&" else one.command
                    yield one._replace(command=inner, after_cd=one.after_cd or moved)
            words = _arguments(words, _LACKING_WRAPPERS) if words[0] in _LACKING_WRAPPERS else ()


def has_program(program: str, path: list[str], moved: bool) -> bool:
    """Whether a Lambda has `program`, or may have it by then. `path` has the folders of PATH."""
    folder, slash, name = program.rpartition("/")
    if not program or shell.HOME in program:
        return True
    if not slash:
        by_path = PYTHON.fullmatch(name) and PYTHON_FOLDER in path
        return name in BUILTINS | INSTALLED or bool(by_path) or any(map(lambda_image.may_be_made, path))
    if folder.startswith("/"):
        return lambda_image.has(program)
    return moved or shell.UNKNOWN in folder


def _inner(words: tuple[str, ...]) -> tuple[str, ...]:
    """The words of a command without what stands before its program."""
    while words:
        if words[0] in _BEFORE or _ASSIGNMENT.match(words[0]):
            words = words[1:]
        elif words[0] in _NO_COMMAND:
            return ()
        elif words[0] in _WRAPPERS and len(words) > 1 and words[1] not in ("-v", "-V"):
            inner = _arguments(words, _WRAPPERS)
            if not inner:
                return words
            words = inner
        else:
            return words
    return ()


def _arguments(words: tuple[str, ...], wrappers: Mapping[str, tuple[int, str]]) -> tuple[str, ...]:
    """The command behind a program such as `nice -n 10` or `timeout 5`."""
    own, taking = wrappers[words[0]]
    rest = words[1:]
    while rest and rest[0].startswith("-"):
        takes = len(rest[0]) == 2 and rest[0][1] in taking
        rest = rest[2 if takes else 1:]
    rest = rest[own:]
    while rest and _ASSIGNMENT.match(rest[0]):
        rest = rest[1:]
    return () if rest and rest[0].startswith("-") else rest


def _script(words: tuple[str, ...]) -> str | None:
    """The script of `sh -c SCRIPT`, `su -c SCRIPT` or `flock FILE -c SCRIPT`."""
    if words[0].rpartition("/")[2] not in (*_SHELLS, "su", "flock", "dash", "zsh", "ksh", "runuser"):
        return None
    for number, word in enumerate(words[1:], 1):
        if re.fullmatch(r"-[a-z]*c|--command", word):
            return words[number + 1] if number + 1 < len(words) else None
        if not word.startswith("-") and words[0] in _SHELLS:
            return None
    return None
