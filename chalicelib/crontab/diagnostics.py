"""An error or surprise in a schedule. One value per place, for people and for `--json`."""

from collections.abc import Iterator, Sequence
from typing import Literal

import msgspec

# Errors for which Debian ignores the file although each of its lines can be read.
WHOLE_FILE = frozenset({"no-newline", "too-many-lines", "crlf"})

# Findings that many lines of one file have alike, such as all those that need a server.
GROUPED = frozenset({"no-program", "no-file", "guard", "sudo", "home", "read-only", "lock", "background", "long-sleep",
                     "as-root"})
_LINES = 12

Severity = Literal["error", "warning"]


class Diagnostic(msgspec.Struct, frozen=True, order=True):
    """One finding at `file:line:column` (both from 1). An `error` refuses the package, a `warning` does not."""

    file: str
    line: int
    column: int
    severity: Severity
    code: str
    message: str
    remedy: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}"
        return f"{place}: {self.severity}: {self.message}; {self.remedy} [{self.code}]"


class LineDiagnostic(msgspec.Struct, frozen=True):
    """A finding of one line, before it is known which line of which file it is."""

    column: int
    code: str
    message: str
    remedy: str
    severity: Severity = "warning"

    def at(self, file: str, line: int) -> Diagnostic:
        """This advice as a finding in `file` at `line`."""
        return Diagnostic(file, line, self.column, self.severity, self.code, self.message, self.remedy)


def errors(findings: Sequence[Diagnostic]) -> list[Diagnostic]:
    """Those that refuse the package."""
    return [finding for finding in findings if finding.severity == "error"]


def render(findings: Sequence[Diagnostic], limit: int = 20) -> Iterator[str]:
    """One line of text per finding, errors first, and one that counts those beyond `limit`.

    Those that many lines of a file have alike are one line, with the numbers of the other lines.
    """
    ordered = sorted(grouped(findings), key=lambda finding: (finding.severity, finding))
    yield from map(str, ordered[:limit])
    if len(ordered) > limit:
        yield f"... and {len(ordered) - limit} more"


def grouped(findings: Sequence[Diagnostic]) -> Iterator[Diagnostic]:
    """The findings, with those of `GROUPED` as one for each file and code."""
    groups: dict[tuple[str, str], list[Diagnostic]] = {}
    for finding in sorted(findings):
        if finding.code in GROUPED:
            groups.setdefault((finding.file, finding.code), []).append(finding)
        else:
            yield finding
    for first, *others in groups.values():
        lines = list(dict.fromkeys(other.line for other in others))
        told = ", ".join(map(str, lines[:_LINES])) + (", ..." if len(lines) > _LINES else "")
        more = f" (and {len(lines)} more {'lines' if len(lines) > 1 else 'line'} alike: {told})" if lines else ""
        yield msgspec.structs.replace(first, message=f"{first.message}{more}")


def short(text: str, limit: int = 40) -> str:
    """`text` quoted for a message, cut if long, control characters escaped."""
    return repr(text if len(text) <= limit else f"{text[:limit]}...")
