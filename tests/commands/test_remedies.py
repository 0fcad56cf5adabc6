"""Every `lamp` command that a message, an alert, a remedy or a docstring names is one that the command line takes."""

import ast
import importlib
import json
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import click
import msgspec
import pytest
import typer

from chalicelib import registry
from chalicelib.engine.operation import Operation
from commands import cli

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("agent", "chalicelib", "commands", "lamplighter", "sandbox", "simulation", "testing")
OPERATIONS = tuple(registry.lambdas())
# What stands for an expression of an f-string, and for a word in capitals.
FILLED = "X"
# A whole command in backquotes, which is to be typed, and a command within a sentence, up to where the next one begins.
_QUOTED = re.compile(r"`(?:\./)?lamp ([^`]+)`")
_SPOKEN = re.compile(r"(?<![`\w])\./lamp ((?:(?!\./lamp|`|; )[^\n])+)")


def texts(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Each text of a module with its line. Expressions within are FILLED."""
    inside: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr) and id(node) not in inside:
            inside |= {id(part) for part in ast.walk(node)}
            yield node.lineno, "".join(str(part.value) if isinstance(part, ast.Constant) else FILLED
                                       for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inside:
            yield node.lineno, node.value


def named(*patterns: re.Pattern[str]) -> Iterator[dict[str, str]]:
    """What follows `lamp` in the sources, by its place, for each pattern. Other files are not parsed."""
    said = [(file.relative_to(ROOT), line, text)
            for folder in FOLDERS for file in sorted((ROOT / folder).rglob("*.py"))
            if re.search(r"lamp\b", source := file.read_text())
            for line, text in texts(ast.parse(source)) if "lamp" in text]
    for pattern in patterns:
        yield {f"{file}:{line}:{number}": " ".join(match[1].split())
               for file, line, text in said for number, match in enumerate(pattern.finditer(text))}


QUOTED, SPOKEN = named(_QUOTED, _SPOKEN)


def command(words: list[str]) -> tuple[str, list[str]]:
    """The command that `words` begin with, and the words after it."""
    while words[:1] == ["-C"]:
        words = words[2:]
    words = [*cli.SHORT.get(words[0], words[0]).split(), *words[1:]]
    for length in (2, 1):
        if (name := " ".join(words[:length])) in cli.COMMANDS:
            return name, words[length:]
    raise AssertionError(f"lamp {' '.join(words)}: there is no such command")


@cache
def parser(name: str) -> click.Command:
    app = typer.Typer(add_completion=False)
    app.command()(cli._function(cli.COMMANDS[name].place))
    return typer.main.get_command(app)  # type: ignore[return-value]


@cache
def parameters(operation: str) -> type[msgspec.Struct] | None:
    """The shape of the operation's parameters. None for a Lambda that is a plain function."""
    [declared] = [each for each in OPERATIONS if each.name == operation]
    module, _, name = declared.handler.partition(":")
    target = getattr(importlib.import_module(f"chalicelib.{operation.partition('.')[0]}.{module}"), name)
    for each in target if isinstance(target, tuple) else (target,):
        if isinstance(each, Operation) and each.name == operation:
            return each.parameters
    return None


@pytest.mark.slow
@pytest.mark.parametrize("place", QUOTED)
def test_a_command_in_backquotes_can_be_typed(place: str) -> None:
    words = shlex.split(QUOTED[place])
    families = {name.split()[0] for name in cli.COMMANDS if " " in name}
    if words == ["--version"] or words[0].isupper() or (words[0] in families and words[1:] in ([], ["..."])):
        return
    name, rest = command(words)
    if not rest and any(one.required for one in parser(name).params):
        return  # only the command's name
    context = parser(name).make_context(name, list(rest))
    if name == "run":
        operation, said = context.params["operation"], context.params["parameters"]
        shape = parameters(operation)
        if said not in ("{}", FILLED) and shape is not None:
            said = re.sub(r"(?<=: )\.\.\.", '"..."', said)  # a value that the reader knows
            assert set(json.loads(said)) <= set(shape.__struct_fields__), QUOTED[place]


@pytest.mark.parametrize("place", SPOKEN)
def test_a_command_in_a_sentence_exists_with_its_options(place: str) -> None:
    words = re.findall(r"[^\s,.;:?!'\"()]+(?:\.[a-z_]+)?", SPOKEN[place])
    if words[0] in ("alone", "again", "COMMAND", "does", FILLED) or words[:2] == ["-C", "DIR"] or "..." in words:
        return
    name, rest = command(words)
    known = {option for one in parser(name).params for option in (*one.opts, *one.secondary_opts)} | {"--help"}
    assert [word for word in rest if word.startswith("--") and word not in known] == [], SPOKEN[place]
    if name == "run" and rest:
        operation = rest[0]
        assert operation == FILLED or operation.isupper() or operation in {
            each.name for each in OPERATIONS}, SPOKEN[place]


def test_commands_are_found() -> None:
    assert len(QUOTED) > 30 and len(SPOKEN) > 15
