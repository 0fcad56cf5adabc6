"""The place from which this copy of Lamplighter came, as pip takes it, for the requirements of a new fleet.

The bare name would be a name in whichever package index pip asks. Nobody owns it there, or somebody else does.
"""

import importlib.metadata
import json
import subprocess
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote, urlsplit, urlunsplit

from commands import roots

NAME = "lamplighter"


class Source(NamedTuple):
    """A line of a requirements file, and what a reader has to know about it (a comment, in lines)."""

    requirement: str
    note: str


_EVERYWHERE = "A git server has it, pinned to one commit. A machine that installs it needs access to that server."
_HERE = ("Only this machine has it. Push the checkout to a git server, or put a wheel where every machine finds it,\n"
         "and name that place here: git+https://...@COMMIT, or the wheel's URL. Until then the workflow fails.")
_INDEX = ("It came from a package index. If that is not PyPI, write the line `--index-url https://...` above it.\n"
          "Else pip takes whatever PyPI has under that name.")


def find() -> Source:
    """The place that this copy came from, be it a checkout or an installed wheel."""
    return of_installed(importlib.metadata.distribution(NAME)) if roots.installed() else of_checkout(roots.PRODUCT)


def of_installed(found: importlib.metadata.Distribution) -> Source:
    """The place that pip noted down (PEP 610). Without a note it was an index, asked by name."""
    noted = found.read_text("direct_url.json")
    if not noted:
        return Source(f"{NAME}=={found.version}", _INDEX)
    told = json.loads(noted)
    url, note = told["url"], _HERE if told["url"].startswith("file:") else _EVERYWHERE
    if "vcs_info" in told:
        vcs = told["vcs_info"]
        place = f"{vcs['vcs']}+{_public(url)}@{vcs['commit_id']}"
        return Source(_named(f"{place}{_inside(told.get('subdirectory'))}"), note)
    note = note if note == _HERE else "A wheel at a URL. A machine that installs it needs access to that server."
    hashes = told.get("archive_info", {}).get("hashes", {})
    pinned = f"#sha256={hashes['sha256']}" if "sha256" in hashes else ""
    return Source(f"{NAME} @ {_public(url)}{pinned}", note)


def of_checkout(folder: Path) -> Source:
    """The commit that is checked out in `folder`, at its remote if a remote has it, else in the folder itself."""
    commit = _git(folder, "rev-parse", "HEAD")
    if not commit:
        return Source(f"{NAME} @ {folder.as_uri()}", _HERE)
    prefix = _git(folder, "rev-parse", "--show-prefix").rstrip("/")
    pushed = _git(folder, "for-each-ref", "--format=%(refname:lstrip=2)", "--contains", commit, "refs/remotes")
    remote = pushed.split("/")[0] if pushed else ""
    url = _git(folder, "remote", "get-url", remote) if remote else ""
    top = Path(_git(folder, "rev-parse", "--show-toplevel") or folder)
    place, note = (_as_url(url), _EVERYWHERE) if url and not _is_local(url) else (top.as_uri(), _HERE)
    return Source(_named(f"git+{place}@{commit}{_inside(prefix)}"), note)


def comment(source: Source) -> str:
    """The note as comments of a requirements file."""
    return "\n".join(f"# {line}" for line in source.note.splitlines())


def _git(folder: Path, *words: str) -> str:
    """The answer of git about `folder`. Empty if there is no git, no repository, or no answer."""
    try:
        done = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _named(url: str) -> str:
    # The pip that Python 3.11 brings along refuses a name before a URL without a host, other than `file:`.
    return url if url.startswith("git+file:") else f"{NAME} @ {url}"


def _is_local(url: str) -> bool:
    return url.startswith(("file:", "/", "."))


def _as_url(remote: str) -> str:
    """A remote as a URL: git itself also takes `git@host:owner/repository.git`, and pip does not."""
    if "://" in remote:
        return _public(remote)
    host, _, path = remote.partition(":")
    return f"ssh://{host}/{quote(path.lstrip('/'))}"


def _public(url: str) -> str:
    """`url` without a user or a token, which belongs into no file. The user of an SSH URL is no secret."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https"):
        return url
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _inside(folder: str | None) -> str:
    return f"#subdirectory={folder}" if folder else ""
