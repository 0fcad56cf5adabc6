"""The jobs that are deployed, read from the packages that the stacks of a stage run.

They are the only list of names that cannot be out of date. A fresh clone in CI reads the same list.
"""

import hashlib
import io
import zipfile
from collections.abc import Callable, Sequence
from typing import Any

from chalicelib.config.declared import Fleet
from chalicelib.crontab.container import Damaged
from chalicelib.crontab.job import Job
from chalicelib.crontab.job_file import JobFile
from commands.deploy import account, stacks
from commands.deploy.account import Target, spoken
from commands.deploy.stacks import Stack
from commands.errors import UsageError

REMEDY = ("so the names of the deployed jobs are unknown. Deploy again when that is repaired. With --new-names each "
          "job gets the name that it has in a first deployment, and loses its history if it had another")


def jobs(target: Target, fleet: Fleet, stage: str, tell: Callable[[str], None]) -> list[Sequence[Job]]:
    """The jobs of each release that some region of the fleet has, the home region's first. None before a first one.

    A region that does not answer costs nothing if another one has a release, and `tell` gets the reason. Otherwise that
    is a `UsageError`.
    """
    found: dict[str, Sequence[Job]] = {}
    silent: list[str] = []
    for region in fleet.regions:
        try:
            with spoken(region.name):
                template = stacks.template(target, Stack(region.name, f"{fleet.name}-{stage}"))
                if template is None:
                    continue
                bucket, key = _package(template)
                if key not in found:  # most often all regions have one package
                    found[key] = _jobs(target, region.name, bucket, key)
        except UsageError as mistake:
            silent.append(str(mistake))
    if silent and not found:
        raise UsageError("\n".join([*dict.fromkeys(silent), REMEDY]))
    for reason in dict.fromkeys(silent):
        tell(f"{reason}. The names of jobs are those of the other regions")
    return list(found.values())


def _package(template: dict[str, Any]) -> tuple[str, str]:
    """The bucket and the key of the code in a template that was deployed."""
    for part in template["Resources"].values():
        if part.get("Type") == "AWS::Serverless::Function" and isinstance(part["Properties"].get("CodeUri"), dict):
            return part["Properties"]["CodeUri"]["Bucket"], part["Properties"]["CodeUri"]["Key"]
    raise UsageError("the deployed template names no package. Somebody has changed the stack by other means")


def _jobs(target: Target, region: str, bucket: str, key: str) -> Sequence[Job]:
    owner = account.number(target, region)
    content = target.client("s3", region).get_object(
        Bucket=bucket, Key=key, ExpectedBucketOwner=owner)["Body"].read()
    try:
        if hashlib.sha256(content).hexdigest() != key.rpartition("/")[2].removesuffix(".zip"):
            raise UsageError(f"{region}: s3://{bucket}/{key} is not the package that was deployed")
        with zipfile.ZipFile(io.BytesIO(content)) as packed:
            book = JobFile.load(packed.read("jobs.bin"))
        return tuple(book[number] for number in range(len(book)))
    except (KeyError, zipfile.BadZipFile, Damaged, ValueError) as error:
        raise UsageError(f"{region}: the jobs in s3://{bucket}/{key} cannot be read ({error})") from None
