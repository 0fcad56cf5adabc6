"""The environment of the sandbox's gateway and tunnel hosts, with programs, the gateway's host key, and their identity
in AWS.

A real host is told by its instance metadata who it is. Here a file for each region holds the credentials of its role.
"""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import asyncssh

from sandbox.hosts.programs import Programs
from sandbox.world import Sandbox

ROOT = Path(__file__).resolve().parent.parent.parent
# The longest that AssumeRole gives.
_SESSION_SECONDS = 43_200


def command(module: str, *words: str) -> str:
    """A command line for /bin/sh that becomes a module of this project."""
    return (f"PYTHONPATH={shlex.quote(str(ROOT))} exec {shlex.quote(sys.executable)} -P -m {module} "
            + " ".join(map(shlex.quote, words))).rstrip()


class Keyring:
    """A folder, for as long as the hosts live."""

    def __init__(self, folder: Path, world: Sandbox, programs: Programs) -> None:
        self.folder, self._world = folder, world
        key = asyncssh.generate_private_key("ssh-ed25519")
        self.host_key = folder / "host_key"
        self.host_key.touch(0o600)
        self.host_key.write_bytes(key.export_private_key())
        self.public = key.export_public_key().decode().strip()
        (folder / "bin").mkdir()
        here = shlex.quote(str(folder))
        self._program("aws", f'set -a\n. {here}/"$REGION.env"\nset +a\n' + command("sandbox.hosts.aws") + ' "$@"')
        if not programs.ssh:
            self._program("ssh", command("sandbox.hosts.tunnel") + ' "$@"')

    def identify(self, region: str, role: str) -> None:
        """From now on the hosts of `region` act as this role, as long as its permissions say."""
        given = self.session(region, role)
        values = {"AWS_ENDPOINT_URL": self._world.endpoint, "AWS_ACCESS_KEY_ID": given["AccessKeyId"],
                  "AWS_SECRET_ACCESS_KEY": given["SecretAccessKey"], "AWS_SESSION_TOKEN": given["SessionToken"]}
        half = self.folder / f"{region}.half"
        half.touch(0o600)
        half.write_text("".join(f"{name}={shlex.quote(value)}\n" for name, value in values.items()))
        half.replace(self.folder / f"{region}.env")

    def session(self, region: str, role: str) -> dict[str, str]:
        """Credentials of a role, as AssumeRole gives them. It trusts a service. For a moment the operator, too."""
        iam, sts = self._world.client("iam", region), self._world.client("sts", region)
        found = iam.get_role(RoleName=role)["Role"]
        own = {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"AWS": sts.get_caller_identity()["Arn"]}}
        trust = found["AssumeRolePolicyDocument"]
        more = {**trust, "Statement": [*trust["Statement"], own]}
        iam.update_assume_role_policy(RoleName=role, PolicyDocument=json.dumps(more))
        try:
            given: dict[str, str] = sts.assume_role(
                RoleArn=found["Arn"], RoleSessionName="instance", DurationSeconds=_SESSION_SECONDS)["Credentials"]
        finally:
            iam.update_assume_role_policy(RoleName=role, PolicyDocument=json.dumps(trust))
        return given

    def _program(self, name: str, script: str) -> None:
        path = self.folder / "bin" / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        subprocess.run(["/bin/sh", "-n", path], check=True)
