"""One health check of Elastic Load Balancing, over a real connection from the balancer's address."""

import asyncio
import ssl
from contextlib import suppress

from sandbox.compute.connect import dial
from sandbox.compute.health import Verdict, matches
from sandbox.compute.settings import Group, Target

_FAILED = "Target.FailedHealthChecks"
_WEB = ("HTTP", "HTTPS")


class Malformed(Exception):
    """The target's answer is no HTTP."""


async def probe(group: Group, target: Target) -> Verdict:
    """Probe `target` as `group` says. Never raises for what a target does."""
    try:
        async with asyncio.timeout(group.timeout):
            code = await _ask(group, target)
    except TimeoutError:
        # Target.Timeout and ResponseCodeMismatch are of Application Load Balancers only (API reference, TargetHealth).
        return Verdict(False, _FAILED if group.network else "Target.Timeout",
                       "Health checks failed" if group.network else "Request timed out")
    except (OSError, Malformed):
        return Verdict(False, _FAILED, "Health checks failed")
    if code == 0 or matches(code, group.matcher):
        return Verdict(True)
    if group.network:
        return Verdict(False, _FAILED, "Health checks failed")
    return Verdict(False, "Target.ResponseCodeMismatch", f"Health checks failed with these codes: [{code}]")


async def _ask(group: Group, target: Target) -> int:
    """The HTTP status that it answers, 0 for a check that only connects."""
    secure = _any_certificate() if group.protocol == "HTTPS" else None
    reader, writer = await dial(group.source, target.host, target.check, secure)
    try:
        return await _status(group, target, reader, writer) if group.protocol in _WEB else 0
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


async def _status(group: Group, target: Target, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> int:
    lines = (f"GET {group.path} HTTP/1.1", f"Host: {target.host}:{target.check}", "Connection: close",
             "User-Agent: ELB-HealthChecker/2.0", "Accept-Encoding: gzip, compressed", "", "")
    writer.write("\r\n".join(lines).encode())
    try:
        words = (await reader.readline()).split()
    except ValueError as error:  # what a StreamReader says of a line that never ends
        raise Malformed(str(error)) from error
    if len(words) < 2 or not words[0].startswith(b"HTTP/") or not words[1].isdigit():
        raise Malformed(words)
    return int(words[1])


def _any_certificate() -> ssl.SSLContext:
    # "The load balancer ... does not validate these certificates" (both guides, on targets).
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
