"""The file of the project that `runners.policy` of fleet.toml names."""

from pathlib import Path

from chalicelib.config.declared import Fleet
from chalicelib.config.fleet import FleetError
from chalicelib.infrastructure import runner_policy
from chalicelib.infrastructure.parts import Json
from commands.deploy import staging


def statements(root: Path, declared: Fleet, stage: str) -> list[Json]:
    """What the role of the runner may do beyond its log. `FleetError` names all that is wrong with the file."""
    name = declared.runners.policy
    if name is None:
        return []
    path = staging.project_file(root, "runners.policy", name,
                                "Put the policy document there, as in runner-policy.json")
    try:
        text = path.read_bytes().decode()
    except (OSError, UnicodeDecodeError) as error:
        raise FleetError(f"{name}:1: runners.policy: cannot be read ({error}). Write it in UTF-8") from None
    return runner_policy.statements(text, name, f"{declared.name}-{stage}")
