"""The jobs that a Python file declares, found at package time by importing it."""

import importlib.util
import inspect
import sys
import traceback
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

import msgspec

from chalicelib.config.workload import RUNNERS, Runners
from chalicelib.crontab import decorator, environment, lint, policy
from chalicelib.crontab.command import prefix
from chalicelib.crontab.diagnostics import Diagnostic, LineDiagnostic
from chalicelib.crontab.expression import ExpressionError, Reading, whole
from chalicelib.crontab.job import AlarmOn, Job, Policy


def read(
    path: Path, file: str, tz: str = "UTC", defaults: Policy = policy.DEFAULTS, *, alarm_on: AlarmOn | None = None,
    runners: Runners = RUNNERS,
) -> tuple[list[Job], list[Diagnostic]]:
    """The jobs of `path`, called `file` in findings. The file is imported as `cron.<stem>`, as it is in the Lambda."""
    if not path.stem.isidentifier():
        remedy = "rename the file. A module's name has letters, digits and _"
        return [], [LineDiagnostic(1, "python", "cannot be imported", remedy, "error").at(file, 1)]
    found, wrong = _import(path)
    if wrong:
        return [], [wrong[1].at(file, wrong[0])]
    return of_declarations(found, file, path.stem, tz, defaults, alarm_on=alarm_on, runners=runners)


def of_declarations(
    found: Iterable[decorator.Declared], file: str, module: str, tz: str, defaults: Policy = policy.DEFAULTS, *,
    alarm_on: AlarmOn | None = None, runners: Runners = RUNNERS,
) -> tuple[list[Job], list[Diagnostic]]:
    """The jobs of what `@job` has noted in the file that is called `file` in findings."""
    reader = _Reader(file, module, tz, defaults, alarm_on, runners)
    for one in found:
        reader.take(one)
    return reader.jobs, sorted(reader.findings)


def _import(path: Path) -> tuple[list[decorator.Declared], tuple[int, LineDiagnostic] | None]:
    name, before = f"cron.{path.stem}", len(decorator.REGISTRY)
    shadowed = sys.modules.get(name)
    try:
        _load(name, path)
    except (Exception, SystemExit) as error:  # the file is its owner's: whatever it raises is a finding, with its place
        line, column = _place(error, path)
        message = f"cannot be imported: {type(error).__name__}: {error}"
        return [], (line, LineDiagnostic(column, "python", message, "see to it that the file can be imported by itself",
                                         "error"))
    finally:
        found = decorator.REGISTRY[before:]
        del decorator.REGISTRY[before:]
        _put_back(name, shadowed)
    return [one for one in found if one.function.__module__ == name], None


def _load(name: str, path: Path) -> None:
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)


def _put_back(name: str, module: ModuleType | None) -> None:
    sys.modules.pop(name, None)
    if module is not None:
        sys.modules[name] = module


def _place(error: BaseException, path: Path) -> tuple[int, int]:
    """The line and the column (from 1) of the file that `error` is about."""
    if isinstance(error, SyntaxError) and error.filename == str(path):
        return error.lineno or 1, error.offset or 1
    frames = traceback.extract_tb(error.__traceback__)
    return next((frame.lineno or 1 for frame in reversed(frames) if frame.filename == str(path)), 1), 1


class _Reader:
    def __init__(
        self, file: str, module: str, tz: str, defaults: Policy, alarm_on: AlarmOn | None, runners: Runners
    ) -> None:
        self.alarm_on, self.runners = alarm_on, runners
        self.file, self.module, self.tz, self.defaults = file, module, tz, defaults
        self.jobs: list[Job] = []
        self.findings: list[Diagnostic] = []
        self._names: set[str] = set()

    def take(self, one: decorator.Declared) -> None:
        """Turns a declaration into a job, or says why it cannot be one."""
        wrong = [*self._callable(one), *environment.bad_zone(one.tz or self.tz, 1)]
        how, refused = self._policy(one)
        reading, advised = _schedule(one.schedule)
        findings = [*wrong, *refused, *advised]
        self.findings += [found.at(self.file, one.line) for found in findings]
        if reading and not any(found.severity == "error" for found in findings):
            self._append(one, reading, how)

    def _callable(self, one: decorator.Declared) -> list[LineDiagnostic]:
        name = one.function.__qualname__
        problems = []
        if not name.isidentifier() or inspect.iscoroutinefunction(one.function):
            problems.append(f"{name} is not a plain function at the top of the file")
        elif any(_required(parameter) for parameter in inspect.signature(one.function).parameters.values()):
            problems.append(f"{name} needs arguments, and a schedule has none to give")
        if name in self._names:
            problems.append(f"{name} stands there twice")
        self._names.add(name)
        remedy = "decorate one plain function without arguments, under a name of its own"
        return [LineDiagnostic(1, "python", problem, remedy, "error") for problem in problems]

    def _policy(self, one: decorator.Declared) -> tuple[Policy, list[LineDiagnostic]]:
        values, wrong = {}, []
        for key, text in one.options.items():
            try:
                values[key] = policy.value(key, text)
            except policy.PolicyError as error:
                wrong.append(error)
        # Wherever the fleet runs its crontab lines, a function of this package runs in the runner Lambda.
        how = policy.PolicyOverrides(values | {"on": "lambda"}, {}).over(self.defaults)
        how = policy.alarm_on(how, "alarm_on" in values, self.alarm_on)
        wrong += [error for _, error in policy.conflicts(how, "python", self.runners)]
        return how, [LineDiagnostic(1, "bad-policy", error.message, error.remedy, "error") for error in wrong]

    def _append(self, one: decorator.Declared, reading: Reading, how: Policy) -> None:
        name = one.function.__qualname__
        self.jobs.append(
            Job(
                name=one.options.get("name") or f"{prefix(self.file)}.{name}",
                expression=reading.expression,
                schedule=reading.text,
                tz=one.tz or self.tz,
                command=f"cron.{self.module}:{name}",
                stdin="",
                env={},
                user="",
                mailto=None,
                policy=how,
                file=self.file,
                line=one.line,
                kind="python",
                chosen=one.options.get("name") or name,
            )
        )


def _required(parameter: inspect.Parameter) -> bool:
    variadic = parameter.kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return parameter.default is inspect.Parameter.empty and not variadic


def _schedule(text: str) -> tuple[Reading | None, list[LineDiagnostic]]:
    try:
        reading = whole(text)
    except ExpressionError as error:
        return None, [msgspec.structs.replace(lint.error_for(error, text), column=1)]
    return reading, [msgspec.structs.replace(one, column=1) for one in lint.warnings(reading)]
