"""Which job is which after an edit of the files, and the name that it has then."""

import random
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.crontab import beanstalk, parser, python_jobs
from chalicelib.crontab.identity import Changes, Named, named
from chalicelib.crontab.job import Job


def crontab(text: str, file: str = "crontabs/app") -> list[Job]:
    """The jobs of a crontab of one user."""
    found = parser.read(text.encode(), parser.Source(file, False, "app"))
    assert not [one for one in found.findings if one.severity == "error"]
    return found.jobs


def after(was: str | Sequence[Job], now: str | Sequence[Job]) -> Named:
    """The jobs `now`, where those of `was` were deployed first."""
    before, jobs = (crontab(one) if isinstance(one, str) else one for one in (was, now))
    return named(jobs, named(before).jobs)


def names(found: Named) -> dict[str, str]:
    """The command of each name."""
    return {job.name: job.command for job in found.jobs}


A, B, C = "0 1 * * * /app/bin/close-day\n", "0 2 * * * /app/bin/bill --all\n", "*/5 * * * * php poll.php\n"
TWIN = "* * * * * echo tick\n"

# What was deployed, what is written now, and the command of each name.
EDITS = {
    "nothing": (A + B, A + B, {"app/close-day": "/app/bin/close-day", "app/bill-all": "/app/bin/bill --all"}),
    "schedule": (A + B, A.replace("0 1", "30 4") + B,
                 {"app/close-day": "/app/bin/close-day", "app/bill-all": "/app/bin/bill --all"}),
    "command": (A + B, A.replace("close-day", "close-day --verbose") + B,
                {"app/close-day": "/app/bin/close-day --verbose", "app/bill-all": "/app/bin/bill --all"}),
    "one word of two": ("* * * * * echo hello\n", "* * * * * echo goodbye\n", {"app/echo-hello": "echo goodbye"}),
    "schedule and command": (A + B, A.replace("0 1", "0 3").replace("close-day", "close-day --fast") + B,
                             {"app/close-day": "/app/bin/close-day --fast", "app/bill-all": "/app/bin/bill --all"}),
    "moved line": (A + B + C, C + A + B, {"app/close-day": "/app/bin/close-day", "app/bill-all": "/app/bin/bill --all",
                                          "app/php-poll-php": "php poll.php"}),
    "moved and edited": (A + B + C, C + B + A.replace("close-day", "close-day -v"),
                         {"app/close-day": "/app/bin/close-day -v", "app/bill-all": "/app/bin/bill --all",
                          "app/php-poll-php": "php poll.php"}),
    "duplicated line": (A, A + A.replace("0 1", "0 9"),
                        {"app/close-day": "/app/bin/close-day", "app/close-day-2": "/app/bin/close-day"}),
    "new folder for all": (A + B, (A + B).replace("/app/bin", "/srv/current/bin"),
                           {"app/close-day": "/srv/current/bin/close-day",
                            "app/bill-all": "/srv/current/bin/bill --all"}),
    "the first of two equal lines is edited": (
        TWIN * 2, TWIN.replace("tick", "tock") + TWIN, {"app/echo-tick": "echo tock", "app/echo-tick-2": "echo tick"}),
    "the second of two equal lines is edited": (
        TWIN * 2, TWIN + TWIN.replace("tick", "tock"), {"app/echo-tick": "echo tick", "app/echo-tick-2": "echo tock"}),
    "a line before two equal ones, of which the second is edited": (
        TWIN * 2, A + TWIN + TWIN.replace("tick", "tock"),
        {"app/close-day": "/app/bin/close-day", "app/echo-tick": "echo tick", "app/echo-tick-2": "echo tock"}),
    "the first of two equal lines is removed": (
        TWIN + A + TWIN, A + TWIN, {"app/close-day": "/app/bin/close-day", "app/echo-tick-2": "echo tick"}),
    "the second of two equal lines is removed": (
        TWIN + A + TWIN, TWIN + A, {"app/close-day": "/app/bin/close-day", "app/echo-tick": "echo tick"}),
    "another command": (A + B, "0 9 * * * rsync -a /srv host:\n" + B,
                        {"app/rsync-a-srv-host": "rsync -a /srv host:", "app/bill-all": "/app/bin/bill --all"}),
    "another command of one program": (
        "".join(f"{n} * * * * php artisan {word}\n" for n, word in enumerate(("one", "two", "three", "four"))),
        "".join(f"{n} * * * * php artisan {word}\n" for n, word in ((9, "fresh"), (1, "two"), (2, "three"),
                                                                    (3, "four"))),
        {"app/php-artisan-fresh": "php artisan fresh", "app/php-artisan-two": "php artisan two",
         "app/php-artisan-three": "php artisan three", "app/php-artisan-four": "php artisan four"}),
}


@pytest.mark.parametrize("case", EDITS)
def test_names_after_an_edit(case: str) -> None:
    was, now, expected = EDITS[case]
    assert names(after(was, now)) == expected


def test_changes_are_told() -> None:
    found = after(A + B + C, A.replace("close-day", "close-day -v") + B + "0 9 * * * rsync -a /srv host:\n")
    assert found.changes == Changes((), ("app/close-day",), ("app/rsync-a-srv-host",), ("app/php-poll-php",))
    assert after(A + B, B + A).changes == Changes()


def test_a_chosen_name_is_the_name_and_the_former_one_goes_along() -> None:
    named_now = after(A, f"# lamp: name=closing\n{A}")
    (job,) = named_now.jobs
    assert (job.name, job.former) == ("closing", ("app/close-day",))
    assert named_now.changes == Changes(renamed=(("app/close-day", "closing"),))
    again = named(crontab("# lamp: name=night/closing\n0 5 * * * /srv/close\n" + A), named_now.jobs)
    # The name was changed and moved away from its command, so that only the command tells which job it is.
    assert again.changes.removed == () and again.changes.renamed == ()
    assert names(again) == {"night/closing": "/srv/close", "closing": "/app/bin/close-day"}


def test_a_chosen_name_keeps_its_job_whatever_becomes_of_it() -> None:
    found = after(f"# lamp: name=closing\n{A}{B}", f"# lamp: name=closing\n9 9 * * * rsync -a x y:\n{A}")
    assert names(found) == {"closing": "rsync -a x y:", "app/close-day": "/app/bin/close-day"}
    assert found.changes.removed == ("app/bill-all",)


def test_a_name_that_is_no_longer_written_stays() -> None:
    assert names(after(f"# lamp: name=closing\n{A}", A)) == {"closing": "/app/bin/close-day"}


def test_a_renamed_file_keeps_its_names() -> None:
    moved = crontab(A.replace("close-day", "close-day -v") + B, "crontabs/billing")
    moved = [msgspec.structs.replace(job, user="billing") for job in moved]
    found = named(moved, named(crontab(A + B)).jobs)
    assert names(found) == {"app/close-day": "/app/bin/close-day -v", "app/bill-all": "/app/bin/bill --all"}


def test_a_line_that_moves_to_another_file_keeps_its_name() -> None:
    found = named([*crontab(B), *crontab(A, "crontabs/other")], named([*crontab(A + B), *crontab(C, "crontabs/other")])
                  .jobs)
    assert names(found)["app/close-day"] == "/app/bin/close-day"
    assert found.changes.removed == ("other/php-poll-php",)


def test_a_name_with_a_digest_of_an_older_release_stays() -> None:
    old = [msgspec.structs.replace(crontab(A)[0], name="app/close-day-3f2a")]
    assert names(named(crontab(A.replace("close-day", "close-day -v")), old)) == {
        "app/close-day-3f2a": "/app/bin/close-day -v"}


def test_a_removed_jobs_name_does_not_go_to_another_in_the_same_deployment() -> None:
    found = after("0 1 * * * /a/run\n" + B, B + "0 9 * * * run 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17\n")
    assert "app/run" in found.changes.removed
    assert "app/run" not in names(found)


YAML = "version: 1\ncron:\n  - name: {}\n    url: {}\n    schedule: \"{}\"\n"


def entries(text: str, file: str = "cron.yaml") -> list[Job]:
    """The jobs of a cron.yaml."""
    jobs, findings = beanstalk.read(text.encode(), file)
    assert not findings
    return jobs


def test_an_entry_is_known_by_its_name_and_then_by_its_address() -> None:
    was = entries(YAML.format("nightly", "/reports", "0 3 * * *"))
    assert names(named(entries(YAML.format("nightly", "/other", "0 4 * * *")), was)) == {"cron/nightly": "/other"}
    renamed = named(entries(YAML.format("reports", "/reports", "0 3 * * *")), was)
    assert renamed.changes.renamed == (("cron/nightly", "cron/reports"),)
    moved = named(entries(YAML.format("nightly", "/other", "0 4 * * *"), "jobs.yaml"), was)
    assert names(moved) == {"cron/nightly": "/other"}
    # Another file of the old name has an entry of that name.
    two = named([*entries(YAML.format("nightly", "/new", "0 4 * * *")),
                 *entries(YAML.format("nightly", "/other", "0 4 * * *"), "jobs.yaml")], moved.jobs)
    assert names(two) == {"cron/nightly": "/other", "cron/nightly-2": "/new"}


def test_functions_of_one_file_are_not_taken_for_one_another(tmp_path: Path) -> None:
    def functions(text: str) -> list[Job]:
        (tmp_path / "reports.py").write_text(f"from lamplighter import job\n{text}")
        jobs, findings = python_jobs.read(tmp_path / "reports.py", "reports.py")
        assert not findings
        return jobs

    was = functions("@job('0 1 * * *')\ndef daily(): pass\n@job('0 2 * * *')\ndef weekly(): pass\n")
    now = functions("@job('0 9 * * *')\ndef daily(): pass\n@job('0 7 * * *')\ndef purge(): pass\n")
    found = named(now, was)
    assert found.changes == Changes((), ("reports.daily",), ("reports.purge",), ("reports.weekly",))
    renamed = functions("@job('0 9 * * *')\ndef daily(): pass\n@job('0 2 * * *')\ndef weekly_report(): pass\n")
    assert named(renamed, was).changes.renamed == (("reports.weekly", "reports.weekly_report"),)


def test_regions_with_different_releases_agree_on_names() -> None:
    first = named(crontab(A + B)).jobs
    second = named(crontab(A.replace("close-day", "end-day x") + B + C), first).jobs
    third = crontab(A.replace("close-day", "end-day x y") + B + C)
    both, other = named(third, first, second), named(third, second, first)
    assert [job.name for job in both.jobs] == [job.name for job in other.jobs]
    assert both.changes.added == other.changes.added == ()


LINES = st.lists(st.tuples(
    st.sampled_from(["0 1 * * *", "*/5 * * * *", "@daily"]),
    st.lists(st.sampled_from(["php", "run", "backup", "-v", "/srv/x", "a=1", "sync"]), min_size=1, max_size=4)),
    max_size=9)


def lines(spec: Sequence[tuple[str, Sequence[str]]], file: str = "crontabs/app") -> list[Job]:
    """A crontab of these schedules and words."""
    return crontab("".join(f"{schedule} {' '.join(words)}\n" for schedule, words in spec), file)


@pytest.mark.slow
@given(LINES, LINES)
def test_names_differ_and_each_old_one_is_kept_or_told(was: list[tuple[str, list[str]]],
                                                       now: list[tuple[str, list[str]]]) -> None:
    before = named(lines(was)).jobs
    found = named(lines(now), before)
    kept = {job.name for job in found.jobs}
    assert len(kept) == len(now)
    assert kept.isdisjoint(found.changes.removed)
    assert kept - {job.name for job in before} == set(found.changes.added)
    assert {job.name for job in before} - kept == set(found.changes.removed)


@pytest.mark.slow
@given(LINES, st.randoms())
def test_an_order_changes_no_name(spec: list[tuple[str, list[str]]], order: random.Random) -> None:
    before = named(lines(spec)).jobs
    shuffled = list(spec)
    order.shuffle(shuffled)
    found = named(lines(shuffled), before)
    assert found.changes == Changes()
    assert named(lines(spec), before).jobs == before


@pytest.mark.slow
@given(LINES, st.integers(0, 9))
def test_a_new_line_changes_no_other_name(spec: list[tuple[str, list[str]]], at: int) -> None:
    before = named(lines(spec)).jobs
    more = [*spec[:at], ("7 7 * * *", ["something", "else"]), *spec[at:]]
    found = named(lines(more), before)
    place = min(at, len(spec))
    assert [job.name for number, job in enumerate(found.jobs) if number != place] == [job.name for job in before]
    assert found.changes == Changes(added=(found.jobs[place].name,))


@pytest.mark.slow
@given(LINES.filter(bool), st.data())
def test_an_edited_or_removed_line_changes_no_other_name(
    spec: list[tuple[str, list[str]]], data: st.DataObject
) -> None:
    before = named(lines(spec)).jobs
    at = data.draw(st.integers(0, len(spec) - 1))
    schedule, words = spec[at]
    content = {job.name: (job.schedule, job.command) for job in before}
    for edit in ([("9 9 9 9 *", words)], [(schedule, [*words, "--extra"])]):
        found = named(lines([*spec[:at], *edit, *spec[at + 1:]]), before)
        assert [job.name for job in found.jobs] == [job.name for job in before], edit
        assert found.changes == Changes(edited=(before[at].name,))
    left = named(lines([*spec[:at], *spec[at + 1:]]), before)
    # Of two lines with equal words and times either may go.
    assert {job.name: (job.schedule, job.command) for job in left.jobs}.items() <= content.items()
    assert len(left.changes.removed) == 1 and not left.changes.added


@pytest.mark.slow
@given(LINES)
def test_a_renamed_file_changes_no_name(spec: list[tuple[str, list[str]]]) -> None:
    before = named(lines(spec)).jobs
    found = named(lines(spec, "crontabs/other"), before)
    assert [job.name for job in found.jobs] == [job.name for job in before]


@pytest.mark.slow
def test_ten_thousand_edited_lines_are_compared_in_seconds() -> None:
    spec = [("0 1 * * *", [f"/srv/app/{number}/run", f"site{number}"]) for number in range(10_000)]
    before = named(lines(spec)).jobs
    edited = [(schedule, [*words, "--quiet"]) for schedule, words in spec]
    assert named(lines(edited), before).changes.added == ()
