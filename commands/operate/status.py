"""`lamp status`, all alerts, jobs and queues at a glance."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.text import Text

from chalicelib import foreign
from chalicelib.config.durations import words
from commands.errors import UsageError
from commands.operate import client, show
from commands.operate.run import Json, Region, Stage
from commands.terminal import Console, write_json


def status(
    job: Annotated[str, typer.Option(help="Only jobs whose name holds this.")] = "",
    region: Region = "",
    stage: Stage = "",
    as_json: Json = False,
) -> None:
    """Alerts that are not over. Jobs with last run, outcome and next fire. Each region's queues and dead letters."""
    way = client.find(stage, region)
    answer = way.ask("schedules.status", {"job": job}, region)
    show.passed_over(answer)
    jobs = report("schedules.status", answer)
    regions = [region] if region else [known.name for known in way.fleet.regions]
    alerts = _of_each(way, regions, "journal.alerts")
    queues = {name: told.get("queues", told) for name, told in _of_each(way, regions, "tasks.status").items()}
    if as_json:
        write_json({"place": way.place, "stage": way.stage, "alerts": alerts, "schedules": jobs, "queues": queues})
    else:
        _print(way, alerts, jobs, queues)


def report(operation: str, answer: client.Answer) -> dict[str, Any]:
    """The report of what a reading `operation` answered. `UsageError` if there is none."""
    if answer.error or "plan" not in answer.outcome:
        what = answer.error or answer.outcome.get("message", "no report")
        raise UsageError(f"{answer.region}: {what}; its log: ./lamp run {operation} --region {answer.region}")
    report: dict[str, Any] = answer.outcome["plan"]["report"]
    return report


def _of_each(way: client.OperationClient, regions: Sequence[str], operation: str) -> dict[str, Any]:
    """Per region what the reading `operation` tells, or why it tells nothing."""

    def ask(region: str) -> Any:
        try:
            return report(operation, way.ask(operation, {}, region))
        except UsageError as silence:
            return {"error": str(silence)}

    with ThreadPoolExecutor(len(regions)) as pool:
        return dict(zip(regions, pool.map(ask, regions), strict=True))


def _print(
    way: client.OperationClient, alerts: Mapping[str, Any], jobs: Mapping[str, Any], queues: Mapping[str, Any]
) -> None:
    alerts, jobs, queues = foreign.plain(alerts), foreign.plain(jobs), foreign.plain(queues)
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    console, timezone = Console(), way.fleet.schedules.timezone
    console.print(Text.assemble((f"{way.fleet.name}-{way.stage}", "bold"), f" on {way.place}, ", _last(jobs)))
    for line in alert_lines(alerts, today):
        console.print(line, soft_wrap=True)
    console.print(Text(f"times of schedules are {timezone} unless another zone is named\n", "dim"))
    if jobs["jobs"]:
        console.print(jobs_table(jobs["jobs"], jobs["home"], timezone, today), crop=False)
    else:
        console.print("no jobs yet. Put a crontab into cron/", style="dim")
    if jobs["left_out"]:
        console.print(f"... and {jobs['left_out']} more: name some with --job", style="dim")
    console.print()
    console.print(queues_table(queues), crop=False)
    for region, told in queues.items():
        if "error" in told and "error" not in alerts[region]:
            console.print(Text.assemble((f"{region}: ", "bold red"), told["error"]), soft_wrap=True)


def _last(jobs: Mapping[str, Any]) -> Text:
    last = jobs["last_minute"]
    if last is None:
        return Text("no minute has started yet. The first one comes within 60 s of the deployment", "yellow")
    away = "" if last["region"] == jobs["home"] else f", standing in for {jobs['home']}"
    told = f"last minute started: {last['minute']} by {last['region']}{away}"
    return Text(told, "yellow" if away else "")


def alert_lines(alerts: Mapping[str, Any], today: str) -> Iterator[Text]:
    """Each alert that is not over, with what to do about it. Then what could not be read."""
    standing = [alert for told in alerts.values() for alert in told.get("alerts", ())]
    for alert in sorted(standing, key=lambda one: str(one["since"])):
        more = f" and {alert['count'] - len(alert['targets'])} more" if alert["count"] > len(alert["targets"]) else ""
        told = f"people were told at {_short(alert['told'], today)}" if alert["told"] else "no notice has gone out yet"
        yield Text.assemble((f"{alert['alert']}: {', '.join(alert['targets'])}{more}", "bold red"),
                            f" in {alert['region']} since {_short(alert['since'], today)}, ", (told, "dim"))
        yield Text(f"  {alert['problem']}")
        yield from (Text(f"  {number}. {step}", "dim") for number, step in enumerate(alert["steps"], 1))
    for region, told in alerts.items():
        for problem in (*told.get("unreadable", ()), *([told["error"]] if "error" in told else ())):
            yield Text.assemble((f"{region}: ", "bold red"), problem)
    if not standing and all("error" not in told for told in alerts.values()):
        yield Text("no alert stands", "dim")


def jobs_table(jobs: Sequence[Mapping[str, Any]], home: str, timezone: str, today: str) -> show.Rows:
    """One row a job, with its schedule, its last run (by its slot), and its next time.

    A zone that is not `timezone`, and a day that is not `today`, are written out.
    """
    table = show.Rows("job", "schedule", "last run", "outcome", "took", "next (UTC)")
    for job in jobs:
        last = job["last"] or {}
        following = show.cell("paused") if job["paused"] else Text(_short(job["next"], today))
        table.add(job["job"], _schedule(job, timezone), _short(last.get("slot"), today), _outcome(job, last, home),
                  _took(last), following)
    return table


def _schedule(job: Mapping[str, Any], timezone: str) -> Text:
    zone = "" if job["tz"] == timezone else f"\n{job['tz']}"
    return Text.assemble(job["schedule"], (zone, "dim"))


def _outcome(job: Mapping[str, Any], last: Mapping[str, Any], home: str) -> Text:
    status = f" {last['exit']}" if last.get("exit") else ""
    away = f" in {last['region']}" if last and last["region"] != home else ""
    return Text.assemble(show.cell(last.get("state")), status, (away, "yellow"))


def _took(last: Mapping[str, Any]) -> str:
    return "" if last.get("seconds") is None else f"{last['seconds']:.1f} s"


def queues_table(queues: Mapping[str, Any]) -> show.Rows:
    """One row a queue and region. A queue of dead letters is shown when it holds any."""
    table = show.Rows("region", "queue", "waiting", "at work", "delayed", "oldest")
    table.right = frozenset(table.columns[2:])
    for region, queue in _rows(queues):
        style = "bold red" if queue["dead_letters"] else ""
        age = words(queue["oldest"]) if queue["oldest"] else "-"
        table.add(region, queue["name"], str(queue["waiting"]), str(queue["at_work"]), str(queue["delayed"]), age,
                  style=style)
    return table


def _rows(queues: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for region, told in queues.items():
        if "error" not in told:
            yield from ((region, queue) for queue in told if queue["waiting"] or not queue["dead_letters"])


def _short(time: str | None, today: str) -> str:
    """A slot or a minute for people. `2026-03-29T00:55Z` is `00:55` on that day, else `03-29 00:55`."""
    if not time:
        return "-"
    day, _, of_day = time.removesuffix("#manual").removesuffix("Z").partition("T")
    return of_day if day == today else f"{day[5:]} {of_day}"
