"""`lamp run`, one operation, now."""

import json
from typing import Annotated, Any

import typer

from chalicelib import registry
from commands.errors import UsageError
from commands.operate import client, show
from commands.terminal import Console, line, write_json

Stage = Annotated[str, typer.Option(envvar="LAMP_STAGE", help="By default the demo that is up on this machine.")]
Region = Annotated[str, typer.Option(help="By default the fleet's home region, or the next one that answers to what "
                                          "only reads.")]
Json = Annotated[bool, typer.Option("--json", help="Print the answer as JSON.")]

_GOOD = ("done", "planned", "later")


def run(
    operation: Annotated[str, typer.Argument(metavar="OPERATION", help="As in schedules.pause. Any other word lists "
                                                                       "them all.")],
    parameters: Annotated[str, typer.Argument(metavar="[JSON]", help="Its parameters, as a JSON object.")] = "{}",
    region: Region = "",
    apply: Annotated[bool, typer.Option("--apply", help="Do it. Without this the plan is all that happens.")] = False,
    stage: Stage = "",
    as_json: Json = False,
) -> None:
    """Invoke a deployed operation. Prints its plan, or with --apply its outcome, and its log.

    For example: ./lamp run schedules.pause '{"job": "backup/nightly", "reason": "moving house"}' --apply
    """
    payload = read(parameters) | ({"apply": True} if apply else {})
    way = client.find(stage, region)
    answer = _ask(way, operation, payload) if not region else way.invoke(operation, payload, region)
    show.passed_over(answer)
    if as_json:
        write_json(answer._asdict())
    else:
        _print(answer)
    raise typer.Exit(0 if answer.outcome.get("status") in _GOOD else 1)


def _ask(way: client.OperationClient, operation: str, payload: dict[str, Any]) -> client.Answer:
    """The answer of the home region. Of the next one that answers, if the operation only reads."""
    if registry.is_read_only(operation) and not payload.get("apply"):
        return way.ask(operation, payload, tail=True)
    try:
        return way.invoke(operation, payload)
    except client.RegionUnavailable as silence:
        others = ", ".join(region.name for region in way.fleet.regions[1:]) or "none"
        raise UsageError(f"{silence}. No other region was asked, since {operation} may change something and may have "
                         f"begun. Look with ./lamp status, then name a region with --region (others: {others})"
                         ) from None


def read(text: str) -> dict[str, Any]:
    """`text` as a JSON object, or a `UsageError` that says where it is none."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise UsageError(f"JSON, column {error.colno}: {error.msg}. Write it as in '{{\"job\": \"backup\"}}'") from None
    if not isinstance(value, dict):
        raise UsageError(f"an operation takes a JSON object, as in '{{\"job\": \"backup\"}}', not {text!r}")
    return value


def _print(answer: client.Answer) -> None:
    console = Console()
    for said in filter(None, (show.log_line(one, answer.outcome) for one in answer.log)):
        console.print(said, style="dim", soft_wrap=True)
    if answer.error:
        console.print(line(f"broke in {answer.region}: {answer.error}"), style="bold red")
    else:
        show.outcome(console, answer.outcome)
