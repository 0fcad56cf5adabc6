"""`lamp explain`, one reason for one minute of a job."""

from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.text import Text

from chalicelib import foreign
from commands.errors import UsageError
from commands.operate import client, show
from commands.operate.run import Json, Region, Stage
from commands.terminal import Console, write_json


def why(
    job: Annotated[str, typer.Argument(metavar="JOB", help="Its name, as ./lamp status shows it, or the FILE:LINE "
                                                            "of a finding.")],
    time: Annotated[str, typer.Argument(metavar="TIME", help="As in 2026-03-29T02:30Z, in UTC without an offset.")],
    region: Region = "",
    stage: Stage = "",
    as_json: Json = False,
) -> None:
    """The reason why JOB ran, or did not run, at TIME, with the facts behind it."""
    asked = {"job": job, "time": utc(time)}
    answer = client.find(stage, region).ask("schedules.why", asked, region)
    show.passed_over(answer)
    if as_json:
        write_json(answer._asdict())
    else:
        _print(Console(), answer)
    raise typer.Exit(0 if answer.outcome.get("status") in ("done", "planned") else 1)


def _print(console: Console, answer: client.Answer) -> None:
    report = answer.outcome.get("plan", {}).get("report")
    if report:
        said = foreign.plain(report)
        style = show.STYLES.get(said["answer"], "bold cyan")
        console.print(Text.assemble(said["job"], ("  " + said["minute"], "dim")))
        console.print(Text.assemble((said["answer"], style), f": {said['sentence']}"), soft_wrap=True)
        for line in foreign.lines(report["output"], ""):
            console.print(Text.assemble(("  | ", "dim"), line), soft_wrap=True)
    else:
        show.outcome(console, answer.outcome | ({"status": "failed", "message": answer.error} if answer.error else {}))


def utc(text: str) -> str:
    """The minute that `text` names, in UTC as in `2026-03-29T00:55Z`. Without an offset it is UTC already."""
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(
            f"{text!r} is not a time. Write it as in 2026-03-29T02:30Z or 2026-03-29T04:30+02:00"
        ) from None
    return f"{when.replace(tzinfo=when.tzinfo or UTC).astimezone(UTC):%Y-%m-%dT%H:%MZ}"
