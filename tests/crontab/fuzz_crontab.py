"""What must hold for any bytes that are called a crontab; run as a program, atheris looks for a counterexample."""

import sys

if __name__ == "__main__":
    import atheris

    with atheris.instrument_imports(include=["chalicelib.crontab"]):
        from chalicelib.crontab import environment, expression, parser
        from chalicelib.crontab.parser import Crontab, Source
else:
    from chalicelib.crontab import environment, expression, parser
    from chalicelib.crontab.parser import Crontab, Source

SOURCES = (Source("cron.d/app", True), Source("crontabs/deploy", False, "deploy"))


def check(data: bytes, source: Source) -> None:
    """Reads `data`; an exception or a failed assertion is a bug."""
    found = parser.read(data, source)
    lines = data.decode("utf-8", "surrogateescape").split("\n")
    for finding in found.findings:
        assert 1 <= finding.line <= len(lines), finding
        assert 1 <= finding.column <= len(lines[finding.line - 1]) + 1, finding
        assert finding.message and finding.remedy and len(str(finding)) < 1000, finding
    for job in found.jobs:
        assert expression.parse(job.schedule) == job.expression, job
        assert "\0" not in job.command + job.stdin, job
        job.command.encode()
    assert _lost(lines, found) == []


def _lost(lines: list[str], found: Crontab) -> list[int]:
    """Lines that say something, of which the reading says nothing."""
    told = {job.line for job in found.jobs} | {finding.line for finding in found.findings}
    codes = {finding.code for finding in found.findings}
    lost = []
    for number, line in enumerate(lines, 1):
        text = line.rstrip("\r").strip(" \t")
        unreadable = bool({"nul", "not-utf8"} & codes) and ("\0" in text or not _is_utf8(text))
        silent = not text or text.startswith("#") or environment.read(line.rstrip("\r")) is not None
        if not (number in told or silent or unreadable):
            lost.append(number)
    return lost


def _is_utf8(text: str) -> bool:
    return not any("\udc80" <= char <= "\udcff" for char in text)


def check_both(data: bytes) -> None:
    """As a system's crontab and as a user's."""
    for source in SOURCES:
        check(data, source)


if __name__ == "__main__":
    atheris.Setup(sys.argv, check_both)
    atheris.Fuzz()
