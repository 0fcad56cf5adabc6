"""Elastic Beanstalk's `cron.yaml` (version 1), with periodic POSTs of a worker environment, in UTC.

    version: 1
    cron:
      - name: nightly
        url: /reports/nightly
        schedule: "0 3 * * *"

Read at package time only, with line numbers. The facts are from "Elastic Beanstalk worker environments", periodic
tasks, and from the daemon, sqsd, which reads these keys alone. Its schedules are in sqsd.py. A `# lamp:` comment right
above an entry sets its policy. With `on=queue` the address names a task and its arguments.
`/invoices/render?customer=7` sends `invoices.render` with customer 7.
"""

import json
import re
from urllib.parse import parse_qsl, urlsplit

import msgspec
import yaml

from chalicelib.config.workload import RUNNERS, Runners
from chalicelib.crontab import command, lint, policy, sqsd
from chalicelib.crontab.diagnostics import Diagnostic, LineDiagnostic, short
from chalicelib.crontab.expression import ExpressionError, Reading
from chalicelib.crontab.job import Job, Policy

# The daemon posts again after an answer other than 200, by default ten times (MaxRetries of a worker environment).
HTTP = Policy(on="http", retries=10)
_KEYS = ("name", "url", "schedule")
_EXAMPLE = "see docs/schedules.md for an example"
# What can be posted to: a path as HTTP writes it.
PATH = re.compile(r"/[!-~]*")
# A cron.yaml is three deep. PyYAML follows brackets down to Python's limit of recursion, in time cubic in the depth.
_DEEPEST = 20


_OF_BEANSTALK = ('write `version: 1`, and for each entry a name, a url such as /reports, and a schedule such as '
                 '"0 3 * * *"')
_TYPOGRAPHIC_DASH = re.compile(r"\s*([\u2010-\u2015\u2022\u2212\u00b7])\s*\w+\s*:")
_TYPOGRAPHIC_QUOTES = tuple("\u2018\u2019\u201a\u201c\u201d\u201e\u00ab\u00bb")
_LANGUAGES = (
    (re.compile(r"every\b|(?:[0-9]+(?:st|nd|rd|th)|first|second|third|fourth|fifth)\b", re.I), "App Engine's language"),
    (re.compile(r"(?:rate|cron|at)\(", re.I), "EventBridge's language"),
)
# Keys that other programs' files have, at the top and in entries of `cron`.
_FORMATS = ((frozenset({"apiVersion", "kind"}), "Kubernetes"), (frozenset({"on", "jobs"}), "GitHub Actions"),
            (frozenset({"functions", "provider"}), "the Serverless Framework"),
            (frozenset({"services", "crons"}), "Vercel or Docker Compose"))
_APP_ENGINE = frozenset({"description", "target", "timezone", "retry_parameters"})


class Broken(Exception):
    """The fault at a place of the file, as 0-based line and diagnostic."""

    def __init__(self, mark: yaml.Mark, message: str, remedy: str) -> None:
        super().__init__(message)
        self.line = mark.line
        self.found = LineDiagnostic(mark.column + 1, "cron-yaml", message, remedy, "error")


class _Loader(yaml.SafeLoader):
    """Takes no more levels than any cron.yaml has."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if parent and self.depth == _DEEPEST:
            raise Broken(parent.start_mark, "nested too deeply to be a cron.yaml", _EXAMPLE)
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


def read(
    data: bytes, file: str, defaults: Policy = HTTP, runners: Runners = RUNNERS
) -> tuple[list[Job], list[Diagnostic]]:
    """The jobs of the cron.yaml `data`, and what is wrong with it. Nothing in the file raises an exception."""
    reader = _Reader(file, defaults, runners)
    try:
        text = data.decode("utf-8")
        reader.lines = text.splitlines()
        reader.document(text)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        reader.add(line, LineDiagnostic(1, "not-utf8", "not UTF-8", "save the file in UTF-8", "error"))
    except yaml.YAMLError as error:
        reader.add(*_syntax(error))
    except Broken as error:
        reader.add(error.line + 1, error.found)
    reader.orphans()
    return reader.jobs, sorted(reader.findings)


def _syntax(error: yaml.YAMLError) -> tuple[int, LineDiagnostic]:
    what = str(getattr(error, "problem", None) or getattr(error, "reason", None) or "unreadable")
    alias = "alias" in f"{what} {getattr(error, 'context', '')}"
    marks = [getattr(error, "context_mark", None), getattr(error, "problem_mark", None)]
    mark = next(filter(None, marks if alias else reversed(marks)), None)
    remedy = 'put the schedule in quotes, as in "*/5 * * * *"' if alias else _EXAMPLE
    line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
    return line, LineDiagnostic(column, "cron-yaml", f"not valid YAML: {what}", remedy, "error")


class _Reader:
    def __init__(self, file: str, defaults: Policy, runners: Runners) -> None:
        self.runners = runners
        self.file = file
        self.defaults = defaults
        self.lines: list[str] = []
        self.jobs: list[Job] = []
        self.findings: list[Diagnostic] = []
        self._names: set[str] = set()
        self._used: set[int] = set()

    def add(self, line: int, found: LineDiagnostic) -> None:
        self.findings.append(found.at(self.file, line))

    def document(self, text: str) -> None:
        for number, line in enumerate(self.lines, 1):
            if typed := _TYPOGRAPHIC_DASH.match(line):
                message = f"{typed[1]} (U+{ord(typed[1]):04X}) is no -, which begins an entry"
                found = LineDiagnostic(typed.start(1) + 1, "cron-yaml", message, "write - in its place", "error")
                return self.add(number, found)
        root = yaml.compose(text, Loader=_Loader)
        if root is None:
            return self.add(1, LineDiagnostic(1, "cron-yaml", "the file is empty", _EXAMPLE, "error"))
        unversioned = isinstance(root, yaml.MappingNode) and "version" not in _keys(root)
        if unversioned and (other := _other_format(root)):
            raise Broken(root.start_mark, f"this is a file of {other}, not of Elastic Beanstalk", _OF_BEANSTALK)
        parts = self._mapping(root, ("version", "cron")) if not unversioned else {}
        version = parts.get("version")
        if version is None or _text(version) != "1":
            raise Broken((version or root).start_mark, "the version is not 1", "write `version: 1` at the beginning")
        for node in _sequence(parts.get("cron"), root):
            try:
                self._entry(node)
            except Broken as error:
                self.add(error.line + 1, error.found)

    def _entry(self, node: yaml.Node) -> None:
        parts = self._mapping(node, _KEYS)
        for key in _KEYS:
            if key not in parts:
                raise Broken(node.start_mark, f"the entry has no {key}", f"add `{key}:`; {_EXAMPLE}")
        for key in _KEYS:
            if _text(parts[key])[:1] in _TYPOGRAPHIC_QUOTES:
                message = f"{short(_text(parts[key]))} begins with a typographic quote, which YAML takes for a letter"
                raise Broken(parts[key].start_mark, message, 'write straight quotes, as in "0 3 * * *"')
        name, url = _text(parts["name"]), _text(parts["url"])
        if name in self._names or not re.fullmatch(r"[ -~]{1,100}", name):
            raise Broken(
                parts["name"].start_mark, f"{short(name)} is no name, or one used above", "choose another name"
            )
        if not PATH.fullmatch(url):
            raise Broken(parts["url"].start_mark, f"{short(url)} is no path", "write a path that begins with /")
        self._names.add(name)
        line = node.start_mark.line
        how = self._policy(line)
        if reading := self._schedule(parts["schedule"]):
            self._append(name, url, reading, how, line + 1)

    def _schedule(self, node: yaml.Node) -> Reading | None:
        text, mark = _text(node), node.start_mark
        column = mark.column + (getattr(node, "style", None) in ("'", '"'))
        try:
            reading = sqsd.read(text)
        except ExpressionError as error:
            found = lint.error_for(error, text)
            if other := next((name for pattern, name in _LANGUAGES if pattern.match(text)), ""):
                remedy = f"this is {other}. Cron's has five fields, as in \"0 3 * * *\""
                found = msgspec.structs.replace(found, remedy=remedy)
            self.add(mark.line + 1, _shift(found, column))
            return None
        if sixth := sqsd.sixth(text):
            message = "Elastic Beanstalk ignores a sixth field"
            self.add(mark.line + 1, LineDiagnostic(sixth + column, "six-fields", message, f"write {reading.text!r}"))
        for one in lint.warnings(reading):
            self.add(mark.line + 1, _shift(one, column))
        return reading

    def _policy(self, line: int) -> Policy:
        """The policy in the comments right above 0-based `line`."""
        first = line
        while first > 0 and policy.comment(self.lines[first - 1]):
            first -= 1
        wish = policy.NOTHING
        at: dict[str, int] = {}
        for number in range(first, line):
            self._used.add(number)
            text, column = policy.comment(self.lines[number]) or ("", 1)
            wish, wrong = policy.read(text, column, wish)
            at |= dict.fromkeys(wish.columns.keys() - at.keys(), number + 1)
            for found in wrong:
                self.add(number + 1, found)
        if "name" in wish.values:
            remedy = "remove it, since the entry has a name of its own"
            self.add(
                at["name"],
                LineDiagnostic(wish.columns["name"], "bad-policy", "name= has no meaning here", remedy, "error"),
            )
        how = wish.over(self.defaults)
        if how.on != "http" and "retries" not in wish.values:
            how = msgspec.structs.replace(how, retries=0)  # the default is that of posts alone
        for key, error in policy.conflicts(how, "beanstalk", self.runners):
            place = (at[key], wish.columns[key]) if key in at else (line + 1, 1)
            self.add(place[0], LineDiagnostic(place[1], "bad-policy", error.message, error.remedy, "error"))
        return how

    def orphans(self) -> None:
        for number, line in enumerate(self.lines):
            if number not in self._used and policy.comment(line):
                remedy = "put it on the line right above `- name:`"
                found = LineDiagnostic(
                    line.index("#") + 1, "orphan-policy", "no entry stands below this policy", remedy, "error"
                )
                self.add(number + 1, found)

    def _mapping(self, node: yaml.Node, keys: tuple[str, ...]) -> dict[str, yaml.Node]:
        """The values of `keys` in a mapping. Others are ignored, as the daemon does, with a warning."""
        if not isinstance(node, yaml.MappingNode):
            raise Broken(node.start_mark, f"only {', '.join(keys)} may stand here", _EXAMPLE)
        found: dict[str, yaml.Node] = {}
        for key, value in node.value:
            name, mark = _text(key), key.start_mark
            if name in found:
                raise Broken(mark, f"{short(name)} stands here twice", f"write {', '.join(keys)}, each once")
            if name in keys:
                found[name] = value
            else:
                message = f"the key {short(name)} is ignored, as Elastic Beanstalk does"
                remedy = f"write {', '.join(keys)}, or remove it"
                self.add(mark.line + 1, LineDiagnostic(mark.column + 1, "extra-key", message, remedy))
        return found

    def _append(self, name: str, url: str, reading: Reading, how: Policy, line: int) -> None:
        self.jobs.append(
            Job(
                name=f"{command.prefix(self.file)}/{name}",
                expression=reading.expression,
                schedule=reading.text,
                tz="UTC",
                command=_task(url) if how.on == "queue" else url,
                stdin="",
                env={},
                user="",
                mailto=None,
                policy=how,
                file=self.file,
                line=line,
                kind="beanstalk",
                url=url,
                chosen=name,
            )
        )


def _task(url: str) -> str:
    """The envelope that asks for the task which `url` names. Arguments made of digits are numbers."""
    parts = urlsplit(url)
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    args = {name: int(text) if re.fullmatch(r"[0-9]{1,18}", text) else text for name, text in pairs}
    return json.dumps({"task": parts.path.strip("/").replace("/", "."), "args": args})


def _shift(found: LineDiagnostic, columns: int) -> LineDiagnostic:
    return msgspec.structs.replace(found, column=found.column + columns)


def _keys(node: yaml.Node) -> set[str]:
    pairs = node.value if isinstance(node, yaml.MappingNode) else []
    return {key.value for key, _ in pairs if isinstance(key, yaml.ScalarNode)}


def _other_format(root: yaml.Node) -> str:
    """The name of the program that the file seems to be of. Empty if it may be of Elastic Beanstalk."""
    pairs = root.value if isinstance(root, yaml.MappingNode) else []
    entries: list[yaml.Node] = next((value.value for key, value in pairs if key.value == "cron" and
                    isinstance(value, yaml.SequenceNode)), [])
    if any("url" in _keys(entry) and (_keys(entry) & _APP_ENGINE or "name" not in _keys(entry)) for entry in entries):
        return "App Engine"
    return next((name for keys, name in _FORMATS if keys & _keys(root)), "")


def _sequence(node: yaml.Node | None, root: yaml.Node) -> list[yaml.Node]:
    if not isinstance(node, yaml.SequenceNode):
        raise Broken((node or root).start_mark, "`cron` is not a list of entries", _EXAMPLE)
    nodes: list[yaml.Node] = node.value
    return nodes


def _text(node: yaml.Node) -> str:
    if not isinstance(node, yaml.ScalarNode):
        raise Broken(node.start_mark, "only a single value may stand here", _EXAMPLE)
    return str(node.value)
