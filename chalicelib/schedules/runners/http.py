"""`on=http`: the job is a POST as Elastic Beanstalk's sqsd makes it for cron.yaml; only status 200 is success.

The headers are those of "Elastic Beanstalk worker environments" in its developer guide: X-Aws-Sqsd-Taskname,
X-Aws-Sqsd-Scheduled-At and X-Aws-Sqsd-Sender-Id. A crontab line's command is the path to post to, its stdin the body.
"""

import http.client
from datetime import UTC, datetime
from urllib.parse import urlsplit

from chalicelib.schedules.runners import OUTPUT_BYTES, Attempt, Result, Started
from chalicelib.site import Site


def start(site: Site, attempt: Attempt) -> Result | Started:
    """Posts and waits for the answer, at most the job's time-out for each read."""
    job, target = attempt.job, site.fleet.schedules.http
    if target is None:
        return Result("failed", detail="on=http needs [schedules.http] with a base in fleet.toml; add it")
    at = urlsplit(target.base)
    kind = http.client.HTTPSConnection if at.scheme == "https" else http.client.HTTPConnection
    connection = kind(at.hostname or "", at.port, timeout=job.policy.timeout)
    try:
        connection.request("POST", job.url or job.command, job.stdin.encode(), headers(site, attempt))
        answer = connection.getresponse()
        output = answer.read(OUTPUT_BYTES).decode(errors="replace")
    except TimeoutError:
        return Result("timed-out", detail=f"{target.base}: no answer within {job.policy.timeout} s")
    except (OSError, http.client.HTTPException) as error:
        return Result("failed", detail=f"{target.base}: {type(error).__name__}: {error}")
    finally:
        connection.close()
    if answer.status != http.client.OK:
        return Result("failed", output, f"{target.base}: status {answer.status}; only 200 is success", answer.status)
    return Result("done", output, exit=answer.status)


def headers(site: Site, attempt: Attempt) -> dict[str, str]:
    """What tells the application which job this is."""
    scheduled = datetime.fromtimestamp(attempt.minute * 60, UTC)
    return {
        "X-Aws-Sqsd-Taskname": attempt.job.name.rpartition("/")[2],
        "X-Aws-Sqsd-Scheduled-At": f"{scheduled:%Y-%m-%dT%H:%M:%SZ}",
        "X-Aws-Sqsd-Sender-Id": site.account,
        "User-Agent": "lamplighter",
    }
