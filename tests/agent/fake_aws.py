"""An `aws` on the PATH that answers as a test says, and a host's folder around it."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec

ROOT = Path(__file__).resolve().parent.parent.parent
PROGRAM = ROOT / "agent" / "tunnel_keys.py"
HOST_KEYS = "lamplighter-gateway-us-east-1 ssh-ed25519 AAAA\n"
PRIMARY_PARAMETER = "/primary-region"
WAY = "ALIAS=lamplighter-gateway-eu-north-1\nGATEWAY=127.0.0.9\nGATEWAY_PORT=1\n"


class Host(msgspec.Struct):
    """`folder` holds bin/ (aws), run/ (what is memory on a real host) and the settings."""

    folder: Path

    @property
    def run(self) -> Path:
        """Where the key goes."""
        return self.folder / "run"

    def keys(
        self, *words: str, program: Path = PROGRAM, python: str = sys.executable
    ) -> subprocess.CompletedProcess[str]:
        """lamplighter-keys with `words`."""
        around = {"PATH": f"{self.folder / 'bin'}{os.pathsep}{os.environ['PATH']}", "RUNTIME_DIRECTORY": str(self.run),
                  "LAMPLIGHTER_SETTINGS": str(self.folder / "tunnel.env"),
                  "LAMPLIGHTER_LIB": str(ROOT / "chalicelib" / "mysql"),
                  "LAMPLIGHTER_SSH_CONFIG": str(ROOT / "agent" / "ssh_config")}
        return subprocess.run([python, "-I", program, *words], env=around, capture_output=True, text=True)

    def answers(self, primary: str = "", **by_stage: str) -> None:
        """The secret holds these keys by label, and the parameter names the primary, if there is one."""
        unknown = "An error occurred (ParameterNotFound) when calling the GetParameter operation: "
        told = (f"printf %s {shlex.quote(json.dumps({'Parameter': {'Value': primary}}))}" if primary else
                f"echo {shlex.quote(unknown)} >&2; exit 254")
        lines = ["#!/bin/sh", f'echo "$*" >>{shlex.quote(str(self.folder / "asked"))}', 'case "$*" in',
                 f"*{PRIMARY_PARAMETER}*) {told} ;;",
                 f"*get-parameter*) printf %s {shlex.quote(json.dumps({'Parameter': {'Value': HOST_KEYS}}))} ;;"]
        for stage, key in by_stage.items():
            answer: dict[str, Any] = {"SecretString": key, "VersionId": f"version-of-{stage}"}
            lines.append(f"*{stage}*) printf %s {shlex.quote(json.dumps(answer))} ;;")
        missing = "An error occurred (ResourceNotFoundException) when calling the GetSecretValue operation: none such"
        self.says([*lines, f"*) echo {shlex.quote(missing)} >&2; exit 254 ;;", "esac"])

    def says(self, lines: list[str]) -> None:
        """`aws` is this shell script."""
        path = self.folder / "bin" / "aws"
        path.parent.mkdir(exist_ok=True)
        path.write_text("\n".join([*lines, ""]))
        path.chmod(0o755)


def host(
    folder: Path, gateway: str = "127.0.0.1", port: int = 1, user: str = "tunnel", parameter: str = PRIMARY_PARAMETER,
) -> Host:
    """A host whose gateway is there, and which knows the way to one other."""
    (folder / "run").mkdir(mode=0o700)
    (folder / "ways").mkdir()
    (folder / "ways" / "eu-north-1.env").write_text(WAY)
    values = {"REGION": "eu-west-1", "SECRET": "s", "KNOWN_HOSTS": "/k", "PRIMARY": "us-east-1",
              "PRIMARY_PARAMETER": parameter, "ALIAS": "lamplighter-gateway-us-east-1", "GATEWAY": gateway,
              "GATEWAY_PORT": str(port),
              "GATEWAY_USER": user, "DATABASE": "127.0.0.1", "DATABASE_PORT": "3306"}
    (folder / "tunnel.env").write_text("# settings\n" + "".join(f"{name}={value}\n" for name, value in values.items()))
    return Host(folder)
