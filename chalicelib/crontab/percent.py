"""Tells a `%` that begins the standard input of a command from one that cuts the command by accident.

crontab(5) gives standard input as `mail -s "It's 10pm" joe%Joe,%%Where are your kids?%`. Nearly all other signs are
those of `date +%F`, of `printf %s`, of `100%`, of `${name%.gz}`, of a URL, or of an arithmetic rest.
"""

import re

from chalicelib.crontab import shell

# Programs that run or send what they read. Whatever their input holds may be meant.
_SHELLS = """sh bash dash ksh zsh ssh at batch mail mailx nail mutt sendmail msmtp mysql mariadb psql sqlite3 isql
sqlplus ftp sftp lftp telnet nc ncat write wall"""
# Programs whose words hold formats with percent signs.
_FORMATTING = "date gdate printf stat find curl git seq strftime ps awk gawk jq nice dd fio"
# Programs that never read their standard input.
_NOT_READING = """[ [[ basename chmod chown cp curl df dirname du echo expr false find kill killall ln logrotate ls
mkdir mv mysqldump pg_dump ping pkill printf ps pwd rm rmdir rsync scp seq sleep stat tar test touch true wget zip"""
_READERS, _FORMATTERS, _DEAF = (frozenset(words.split()) for words in (_SHELLS, _FORMATTING, _NOT_READING))
_STRFTIME = re.compile(r"%[-_0^#]?[YymdHMSFTsjVGNukeZzb](?![A-Za-z])")
# `20%`, `% --mode=a`, and ` %s`, but not ` %y`, the answer to a question.
_WORD = re.compile(r"(?<=[0-9])%(?=[ \t]|$)|%[ \t]+--?[A-Za-z]|(?<=[ \t])%[a-mo-xzA-MO-XZ](?=[ \t]|$)")
_ENCODED = re.compile(r"%[0-9A-Fa-f]{2}")
_SYNTAX = re.compile(r"&&|\|\||[0-9]?>&[0-9]|&>|[0-9]?>>?[ \t]*[/~$]|\|[ \t]*[a-z]|;[ \t]*(?:then|do|done|fi|else)\b")
_LAST_WORD = re.compile(r"[^ \t]*$")


def accident(command: str, raw: str, at: int, stdin: str) -> bool:
    """Whether the `%` at index `at` of the field `raw` is a mistake. It divides `command` from `stdin`."""
    script = shell.read(command)
    if script.unclosed or not stdin.strip():
        return True
    word = _LAST_WORD.search(command)
    before = word[0] if word else ""
    program, last = _program(script)
    if before.startswith(("+", "--date=", "--format=", "-printf")) or _WORD.match(raw, at):
        return True
    if _STRFTIME.match(raw, at) and (before.endswith(tuple("-_.+:=/")) or len(_STRFTIME.findall(raw, at)) > 1):
        return True
    argument = last is not None and len(last.words) > 1
    if argument and _ENCODED.match(raw, at) and re.search("[=/?:]", before):
        return True
    if last and last.redirections and not command.endswith((" ", "\t")) and command.endswith(last.redirections[-1][1]):
        return last.redirections[-1][0].startswith((">", "1>", "2>", "&>")) and program != "cat"
    if program in _DEAF or (program in _FORMATTERS and not before):
        return True
    return program not in _READERS and bool(_SYNTAX.search(stdin))


def _program(script: shell.Script) -> tuple[str, shell.Command | None]:
    """The name of the program that would read the input: the first of the last pipeline."""
    last = script.commands[-1] if script.commands else None
    reader = last
    for command in reversed(script.commands):
        if command.depth == 0 and command.words:
            reader = command
            if command.before != "|":
                break
    words = [word for word in (reader.words if reader else ()) if not re.match(r"[A-Za-z_]\w*=", word)]
    return (words[0].rpartition("/")[2] if words else ""), last
