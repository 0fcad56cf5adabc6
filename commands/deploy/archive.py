"""The zip in its final form. The same sources give the same bytes, and compiled code, so that a cold start need not
compile.

Chalice's zip holds the right files in the order in which the file system lists them. Run as `python -m
commands.deploy.archive IN OUT CACHE` with PYTHONHASHSEED=0, because the order within a compiled set depends on it.
"""

import hashlib
import importlib.util
import marshal
import re
import secrets
import sys
import zipfile
from pathlib import Path, PurePosixPath

_EPOCH = (1980, 1, 1, 0, 0, 0)
_FILE = 0o100644 << 16
# A hash-based .pyc that is never checked against its source (PEP 552): inside a package neither changes alone.
_UNCHECKED = (0b01).to_bytes(4, "little")
# Above version 2, what is written depends on how many references an object happens to have.
_MARSHAL = 2
# What only a deployment needs: chalicelib/infrastructure/, and the folder or module of that name of a capability.
_DEPLOYMENT = re.compile(r"chalicelib/(\w+/)?infrastructure(/|\.py$)")
# The pages of an API that no Lambda here has: half a megabyte of scripts for browsers.
_PAGES = re.compile(r"aws_lambda_powertools/event_handler/openapi/swagger_ui/[^/]+\.(js|css)$")
_LEFT_OUT = ("bin/", ".pyc", "/RECORD", "/INSTALLER", "/REQUESTED", "/direct_url.json")


def repack(source: Path, target: Path, cache: Path) -> None:
    """`source` as `target`, sorted, with one time and mode for all, and a .pyc beside each module."""
    cache.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as new:
        for name in sorted(set(old.namelist())):
            if name.endswith(("/", *_LEFT_OUT[1:])) or name.startswith(_LEFT_OUT[0]):
                continue
            if _DEPLOYMENT.match(name) or _PAGES.match(name):
                continue
            if not _within(name):
                raise SystemExit(f"the entry {name!r} would lie outside of the package. Rename that file, or remove "
                                 "the requirement that brings it")
            content = old.read(name)
            _write(new, name, content)
            if name.endswith(".py") and "tzdata/" not in name:
                _write(new, _compiled_name(name), _compiled(name, content, cache))


def _within(name: str) -> bool:
    """Whether the entry is a plain path below the package's folder, on every system."""
    return name.isprintable() and not re.search(r"\\|:|^/|//|(^|/)\.\.?(/|$)", name)


def _write(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    entry = zipfile.ZipInfo(name, _EPOCH)
    entry.external_attr = _FILE
    entry.compress_type = zipfile.ZIP_DEFLATED
    archive.writestr(entry, content)


def _compiled_name(name: str) -> str:
    path = PurePosixPath(name)
    return str(path.parent / "__pycache__" / f"{path.stem}.{sys.implementation.cache_tag}.pyc")


def _compiled(name: str, content: bytes, cache: Path) -> bytes:
    mark = f"{sys.implementation.cache_tag}\0{sys.hexversion}\0{name}\0".encode()
    kept = cache / hashlib.sha256(mark + content).hexdigest()
    if not kept.exists():
        code = compile(content, f"/var/task/{name}", "exec", dont_inherit=True, optimize=0)
        made = importlib.util.MAGIC_NUMBER + _UNCHECKED + importlib.util.source_hash(content)
        half = kept.with_suffix(f".{secrets.token_hex(8)}.half")  # another process may be at it as well
        half.write_bytes(made + marshal.dumps(code, _MARSHAL))
        half.replace(kept)
    return kept.read_bytes()


def main(words: list[str]) -> None:
    """`repack`, whose refusals are one line on stderr."""
    try:
        repack(*(Path(word) for word in words))
    except SyntaxError as wrong:
        place = str(wrong.filename).removeprefix("/var/task/")
        raise SystemExit(f"{place}:{wrong.lineno}:{wrong.offset}: {wrong.msg}") from None


if __name__ == "__main__":
    main(sys.argv[1:4])
