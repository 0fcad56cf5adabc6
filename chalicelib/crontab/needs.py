"""The needs of a crontab's command that the place where it runs does not meet, each with the way out.

A Lambda has few programs and no files of a server, and only `/tmp` is writable there. No lock, and no process in the
background, outlives a run.
"""

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from chalicelib.config import durations
from chalicelib.crontab import lambda_image, lint, programs, shell, sleeps
from chalicelib.crontab.diagnostics import short
from chalicelib.crontab.job import Job
from chalicelib.crontab.policy import JITTER_LONGEST, LAMBDA_LONGEST, LONGEST, USER
from chalicelib.crontab.programs import Started

# The value of `on` that stands for a server or a container, whichever the fleet has.
HOST = "ssm|ecs"
_TO_HOST = ("write `# lamp: on=ssm` above the line to run it on your server, or on=ecs for a container, as "
            "`./lamp cron lint --fix` does")
_LOCKS = frozenset({"flock", "lockrun", "lockf", "setlock", "lockfile", "run-one", "solo", "chpst"})
_USERS = frozenset({"sudo", "su", "doas", "runuser"})
_TESTS = frozenset({"[", "test", "[["})
_FILE_TESTS = frozenset(f"-{letter}" for letter in "xefdsrwLhSpbcOG")
_BEFORE_TEST = frozenset({"if", "elif", "while", "then", "do", "{"})
_EXITS = (("exit",), ("return",), ("break",), ("continue",))
_LOOKUPS = frozenset({"command", "which", "type", "hash"})
# Programs whose words are texts, and those whose first word is one.
_OF_TEXTS = frozenset({"echo", "printf", "expr", "tr", "logger", "seq", "basename", "dirname", *_TESTS})
_OF_PATTERNS = frozenset({"grep", "egrep", "fgrep", "sed", "awk", "gawk"})
_INTERPRETERS = frozenset({"sh", "bash", ".", "source"})
_OF_PACKAGE = re.compile(lambda_image.PYTHON.pattern + r"|(?!/|folder )[\w.-]*/[\w./-]+")
_PATH = re.compile(r"(?:-{1,2}[\w-]+=|[A-Za-z_]\w*=)?(/[^\s'\":]*)")


class Need(NamedTuple):
    """One need. `keys` are those of the policy that meet it, if any do. `on` may be `HOST`."""

    code: str
    message: str
    remedy: str
    keys: dict[str, str]


def of(job: Job) -> list[Need]:
    """The unmet needs of a job of a crontab that runs on a Lambda, a container or a server. Empty for others."""
    if job.kind != "crontab" or job.policy.on not in ("lambda", "ecs", "ssm"):
        return []
    if job.command.startswith("-") or lint.six_fields(f"{job.schedule} {job.command}"):
        return []  # the command is none, which other findings tell
    started = programs.started(job.command, job.env)
    found = list(_of_lambda(job, started)) if job.policy.on == "lambda" else []
    return [*found, *_root(job, started), *_lock(job, started), *_background(job, started), *_sleep(job, started)]


def _of_lambda(job: Job, started: Sequence[Started]) -> Iterator[Need]:
    if guard := _guard(job):
        yield guard
    elif lacking := _lacking(job, started):
        yield lacking
    if any(_base(one.name) in _USERS for one in started):
        message = "a Lambda knows no other users, and has no program to become one"
        yield Need("sudo", message, f"remove it, or {_TO_HOST}", {"on": HOST})
    if _in_words(started, shell.HOME):
        message = "~ is /tmp in a Lambda, where no user has files"
        yield Need("home", message, _TO_HOST, {"on": HOST})
    if target := next(_unwritable(started), ""):
        message = f"a Lambda cannot write to {short(target)}, only below /tmp"
        remedy = f"remove the redirection, since the output of each run is kept, or {_TO_HOST}"
        yield Need("read-only", message, remedy, {"on": HOST})


def _lacking(job: Job, started: Sequence[Started]) -> Need | None:
    """The programs and files that a Lambda does not have, or nothing."""
    apart = _USERS | (_LOCKS if job.policy.overlap == "allow" else frozenset())
    without = [one for one in programs.missing(job.command, job.env) if _base(one) not in apart]
    here = job.env.get("SHELL", "/bin/sh").rpartition("/")[2] in ("sh", "bash")
    files = list(dict.fromkeys(_files(started))) if here else []
    files = [file for file in files if file not in without and f"folder {file}" not in without]
    if not without and not files:
        return None
    message = f"a Lambda (Amazon Linux 2023) has no {', no '.join(map(shell.shown, [*without, *files]))}"
    code = "no-program" if without else "no-file"
    if any(file.startswith("/") for file in files) or not all(map(_OF_PACKAGE.fullmatch, without)):
        return Need(code, message, _TO_HOST, {"on": HOST})
    # Files of the package, which lie elsewhere than in the folder where a command begins, and the package's Python.
    inside = "begin the command with `cd /var/task &&` if the package has it"
    if without and all(map(lambda_image.PYTHON.fullmatch, without)):
        path = f"write PATH={lambda_image.PYTHON_FOLDER}:/usr/bin:/bin above the line, or a Python job"
        return Need(code, message, f"{path}; {inside}" if files else path, {})
    return Need(code, message, f"{inside}, or {_TO_HOST}", {"on": HOST})


def _files(started: Sequence[Started]) -> Iterator[str]:
    """The files and folders among the words of programs, and behind `<`, that a Lambda does not have."""
    for one in started:
        words, name = one.words[1:], _base(one.name)
        if name in _OF_TEXTS or name in _LOCKS or name in ("cd", "pushd"):
            words = ()  # the command behind a lock stands for itself
        elif name in _OF_PATTERNS:
            words = tuple(word for word in words if not word.startswith("-"))[1:]
        for word in words:
            found = _PATH.fullmatch(word)
            if found and programs.lacks(found[1]):
                yield found[1]
        for operator, target in one.command.redirections:
            if operator.endswith("<") and target.startswith("/") and programs.lacks(target):
                yield target
        script = next((word for word in words if not word.startswith("-")), "")
        interpreter = name in _INTERPRETERS or lambda_image.PYTHON.fullmatch(name)
        if interpreter and script and not one.after_cd and not {"-c", "-m"} & set(words) and _is_relative(script):
            yield script


def _base(program: str) -> str:
    return program.rpartition("/")[2]


def _is_relative(word: str) -> bool:
    return word[0] not in "/-<" and shell.UNKNOWN not in word and shell.HOME not in word


def _unwritable(started: Sequence[Started]) -> Iterator[str]:
    """The targets of output that lie where a Lambda cannot write."""
    for one in started:
        for operator, target in one.command.redirections:
            outside = target.startswith("/") and not re.match(r"/(?:tmp|dev)(?:/|$)", target)
            if ">" in operator and outside:
                yield shell.shown(target)


def _in_words(started: Sequence[Started], mark: str) -> bool:
    return any(mark in word for one in started
               for word in (*one.words, *(target for _, target in one.command.redirections)))


def _guard(job: Job) -> Need | None:
    """A test for a file or a program that a Lambda never has, which leaves out a part of the command."""
    commands = shell.read(job.command, job.env).commands
    for number, command in enumerate(commands):
        words = list(command.words)
        while words and words[0] in _BEFORE_TEST:
            words.pop(0)
        without = _tested(words, job)
        effect = _effect(command, commands[number + 1:]) if without else ""
        if effect:
            return Need("guard", f"a Lambda has no {shell.shown(without)}, so {effect}", _TO_HOST, {"on": HOST})
    return None


def _effect(test: shell.Command, rest: Sequence[shell.Command]) -> str:
    """The effect of a test that always fails, by what follows it. Empty if it only leaves out an `exit`."""
    following = _program(rest[0]) if rest else ()
    if test.condition:
        end = next((number for number, command in enumerate(rest) if command.words[:1] == ("fi",)), len(rest))
        goes_on = any(command.words[:1] in (("else",), ("elif",)) for command in rest[:end]) or len(rest) > end + 1
        whole = "what follows `then` never runs" if goes_on else "each run ends as done and does nothing"
        return "" if following[:1] in _EXITS else whole
    if test.after == "||" and following[:1] in _EXITS:
        return f"each run {'ends as done' if following[1:] == ('0',) else 'fails'} and does nothing"
    if test.after != "&&" or following[:1] in _EXITS:
        return ""
    left_out = next((number for number, command in enumerate(rest) if command.after not in ("&&", "|")), len(rest) - 1)
    remaining = rest[left_out + 1:]
    if not remaining:
        return "each run fails and does nothing"
    harmless = _program(remaining[0]) in (("true",), (":",), ("exit", "0")) and len(remaining) == 1
    if rest[left_out].after == "||" and harmless:
        return "each run ends as done and does nothing"
    return "what follows `&&` never runs"


def _program(command: shell.Command) -> tuple[str, ...]:
    words = command.words
    while words and words[0] in _BEFORE_TEST:
        words = words[1:]
    return words


def _tested(words: Sequence[str], job: Job) -> str:
    """The file or program that the test in `words` asks for and a Lambda lacks. Empty if there is none."""
    if not words or "-o" in words:
        return ""
    if words[0] in _TESTS:
        asked = (path for before, flag, path in zip(words, words[1:], words[2:], strict=False)
                 if flag in _FILE_TESTS and before != "!")
        return next((path for path in asked if path.startswith("/") and programs.lacks(path)), "")
    if words[0] in _LOOKUPS and len(words) > 1:
        program = next((word for word in words[1:] if not word.startswith("-")), "")
        path = job.env.get("PATH", "").split(":")
        return "" if shell.UNKNOWN in program or programs.has_program(program, path, moved=False) else program
    return ""


def _root(job: Job, started: Sequence[Started]) -> Iterator[Need]:
    """Run Command runs as root. A line of another user whose command does not become somebody itself is told so."""
    becomes = job.policy.user or any(_base(one.name) in _USERS for one in started)
    if job.policy.on == "ssm" and job.user not in ("", "root") and not becomes:
        known = USER.fullmatch(job.user)
        remedy = (f"write `# lamp: user={job.user}` above the line to run it as that user" if known
                  else "begin the command with `runuser -u NAME --` to run it as that user")
        yield Need("as-root", f"on=ssm runs it as root, not as {short(job.user)}", remedy,
                   {"user": job.user} if known else {})


def _lock(job: Job, started: Sequence[Started]) -> Iterator[Need]:
    lock = next((_base(one.name) for one in started if _base(one.name) in _LOCKS), "")
    if lock and job.policy.overlap == "allow":
        where = {"lambda": "across Lambdas", "ecs": "across containers", "ssm": "across servers"}[job.policy.on]
        on = {"on": HOST} if job.policy.on == "lambda" else {}
        yield Need("lock", f"{lock} locks nothing {where}",
                   f"write `# lamp: overlap=skip` above the line and remove {lock}", {"overlap": "skip", **on})


def _background(job: Job, started: Sequence[Started]) -> Iterator[Need]:
    waits = any(one.name == "wait" for one in started)
    if job.policy.on != "ssm" and not waits and any(one.command.after == "&" for one in started):
        message = "a process in the background (&) is stopped as soon as the command itself ends"
        yield Need("background", message, "remove the &, for each run is on its own, or end with `wait`", {})


def _sleep(job: Job, started: Sequence[Started]) -> Iterator[Need]:
    longest = sum(sleeps.longest(_base(one.name), one.words, one.command.raw) for one in started
                  if one.command.after != "&")
    if longest < job.policy.timeout:
        return
    if longest >= LONGEST:
        yield Need("long-sleep", "it sleeps longer than any run may take", "remove the sleep", {})
        return
    needed = durations.words(int(-(-(longest + job.policy.timeout) // 60) * 60))
    on = job.policy.on == "lambda" and longest + job.policy.timeout > LAMBDA_LONGEST
    how = f"{'on=ssm ' if on else ''}timeout={needed}"
    instead = f"or remove the sleep and write jitter={durations.words(JITTER_LONGEST)}, which begins runs later"
    yield Need("long-sleep", f"it sleeps up to {durations.words(int(longest))}, and the time-out is "
                             f"{durations.words(job.policy.timeout)}",
               f"write `# lamp: {how}` above the line, {instead}", {"timeout": needed, **({"on": HOST} if on else {})})
