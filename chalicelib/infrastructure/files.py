"""The files in .chalice/, generated from what the capabilities declare: `./lamp check --renew` writes them.

They are committed, so that a change of a permission is read in a review as AWS will read it. Pure but for `renew`.
"""

import json
from pathlib import Path

from chalicelib import registry
from chalicelib.engine.deployment import Lambda
from chalicelib.infrastructure import policies, template
from chalicelib.infrastructure.parts import Json

APP = "lamplighter"
_LOG_RETENTION_DAYS = 30


def files() -> dict[str, str]:
    """Path within .chalice/ -> content."""
    declared = list(registry.lambdas())
    return {"config.json": _text(config(declared)), "resources.json": _text(template.static(declared)),
            **{policies.file(each): _text(policies.policy(each)) for each in declared}}


def config(declared: list[Lambda]) -> Json:
    """Chalice's own configuration. The stage `any` stands for whatever stage is packaged."""
    functions = {each.function: {"iam_policy_file": policies.file(each), "lambda_timeout": each.timeout_seconds,
                                 "lambda_memory_size": each.memory_mb} for each in declared}
    return {"version": "2.0", "app_name": APP, "autogen_policy": False, "log_retention_in_days": _LOG_RETENTION_DAYS,
            "tags": {"application": APP}, "stages": {"any": {"lambda_functions": functions}}}


def stale(folder: Path) -> list[str]:
    """What differs in `folder`: one line for each file that is missing, of another content, or of no Lambda."""
    wanted = files()
    kept = {str(path.relative_to(folder)) for path in folder.glob("policies/*.json")}
    remedy = "change the module lambdas of the capability, then ./lamp check --renew"
    superfluous = sorted(kept - wanted.keys())
    different = [name for name, text in wanted.items()
                 if not (folder / name).is_file() or (folder / name).read_text() != text]
    return [*(f".chalice/{name}:1: differs from the declarations of the capabilities. {remedy}" for name in different),
            *(f".chalice/{name}:1: no capability declares this Lambda. {remedy}" for name in superfluous)]


def renew(folder: Path) -> None:
    """Write all files to `folder`, and delete the policies of Lambdas that are no more."""
    wanted = files()
    (folder / "policies").mkdir(parents=True, exist_ok=True)
    for path in folder.glob("policies/*.json"):
        if str(path.relative_to(folder)) not in wanted:
            path.unlink()
    for name, text in wanted.items():
        (folder / name).write_text(text)


def _text(value: Json) -> str:
    return json.dumps(value, indent=2) + "\n"
