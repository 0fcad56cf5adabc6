"""The jobs of a Python file, read from its syntax tree. None of its code runs.

A comparison of revisions reads files that nobody has looked at yet, such as those of a pull request. So arguments of
`@job` must be literals there, or names of the file that are assigned one literal. Anything else is a finding.
"""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from chalicelib.config.workload import Runners, Schedules
from chalicelib.crontab import decorator, parser, python_jobs
from chalicelib.crontab.diagnostics import LineDiagnostic

_REMEDY = ("write the arguments of @job as literals, or check the revision out and compare its folder: "
           "git worktree add ../then REVISION")


class Unreadable(Exception):
    """The jobs of the file are only known to its running code. `line` is where."""

    def __init__(self, line: int, why: str) -> None:
        super().__init__(why)
        self.line = line


def read(path: Path, file: str, schedules: Schedules, runners: Runners) -> parser.Crontab:
    """As the loader reads a Python file, without importing it."""
    try:
        found = list(declarations(path.read_bytes(), str(path)))
    except Unreadable as error:
        wrong = LineDiagnostic(1, "python", f"cannot be read without being run: {error}", _REMEDY, "error")
        return parser.Crontab([], [wrong.at(file, error.line)])
    jobs, findings = python_jobs.of_declarations(found, file, path.stem, schedules.timezone,
                                                 alarm_on=schedules.alarm_on, runners=runners)
    return parser.Crontab(jobs, findings)


def declarations(source: bytes, name: str) -> Iterator[decorator.Declared]:
    """The notes that `@job` of each function at the top of `source` would take. Raises `Unreadable`."""
    try:
        tree = ast.parse(source, name)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise Unreadable(getattr(error, "lineno", 1) or 1, f"{type(error).__name__}: {error}") from None
    names = set(_names(tree))
    constants = dict(_constants(tree))
    taken: set[ast.expr] = set()
    for function in tree.body:
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        for call in function.decorator_list:
            if isinstance(call, ast.Call) and _is_job(call.func, names):
                taken.add(call.func)
                yield _declared(function, call, constants)
    for node in ast.walk(tree):
        if isinstance(node, ast.expr) and _is_job(node, names) and node not in taken:
            raise Unreadable(node.lineno, "job is used otherwise than right above a function at the top of the file")


def _names(tree: ast.Module) -> Iterator[str]:
    """The names of the decorator in the file, as in `job` or `lamplighter.job`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module in ("lamplighter", decorator.__name__):
            for alias in node.names:
                if alias.name == "*":
                    raise Unreadable(node.lineno, f"from {node.module} import * hides the names of the file")
                if alias.name == "job":
                    yield alias.asname or "job"
        if isinstance(node, ast.Import):
            yield from (f"{alias.asname or alias.name}.job" for alias in node.names if alias.name == "lamplighter")


def _is_job(node: ast.expr, names: set[str]) -> bool:
    return isinstance(node, ast.Name | ast.Attribute) and ast.unparse(node) in names


def _constants(tree: ast.Module) -> Iterator[tuple[str, Any]]:
    """Names that the file gives a literal, once and nowhere else."""
    stored = [node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)]
    for node in tree.body:
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
            if stored.count(name) == 1 and isinstance(node.value, ast.Constant):
                yield name, node.value.value


def _declared(
    function: ast.FunctionDef | ast.AsyncFunctionDef, call: ast.Call, constants: dict[str, Any]
) -> decorator.Declared:
    values: list[Any] = [_value(argument, constants) for argument in call.args]
    options: dict[str, Any] = {}
    for keyword in call.keywords:
        if keyword.arg is None:
            raise Unreadable(call.lineno, "the arguments of @job come out of a dictionary")
        options[keyword.arg] = _value(keyword.value, constants)
    before = len(decorator.REGISTRY)
    try:
        decorator.job(*values, **options)(_stub(function))
        return decorator.REGISTRY[-1]._replace(line=min(one.lineno for one in function.decorator_list))
    except TypeError as error:
        raise Unreadable(call.lineno, f"TypeError: {error}") from None
    finally:
        del decorator.REGISTRY[before:]


def _value(node: ast.expr, constants: dict[str, Any]) -> Any:
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Name) and node.id in constants:
        return constants[node.id]
    raise Unreadable(node.lineno, f"{ast.unparse(node)[:40]!r} is no literal")


def _stub(function: ast.FunctionDef | ast.AsyncFunctionDef) -> Any:
    """A function of the same name and parameters that does nothing. No expression of the file is in it."""
    none = ast.Constant(None)
    given = function.args

    def bare(one: ast.arg) -> ast.arg:
        return ast.arg(one.arg)

    arguments = ast.arguments(
        [bare(one) for one in given.posonlyargs], [bare(one) for one in given.args],
        bare(given.vararg) if given.vararg else None, [bare(one) for one in given.kwonlyargs],
        [none if one else None for one in given.kw_defaults],
        bare(given.kwarg) if given.kwarg else None, [none for _ in given.defaults])
    made = type(function)(name=function.name, args=arguments, body=[ast.Pass()], decorator_list=[])
    space: dict[str, Any] = {}
    code = compile(ast.fix_missing_locations(ast.Module([made], [])), "<unimported>", "exec")
    exec(code, {"__builtins__": {}}, space)  # noqa: S102 - one `def` whose parts are names and None
    return space[function.name]
