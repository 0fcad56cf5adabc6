"""The folder of schedules as a whole: which files are read, how jobs are named, and what the fleet must have."""

import subprocess
import sys
from pathlib import Path

import pytest

from chalicelib.config import fleet
from chalicelib.config.declared import Fleet
from chalicelib.crontab import decorator, loader
from chalicelib.crontab.decorator import job
from chalicelib.crontab.job import Job, Policy
from chalicelib.crontab.loader import Catalogue

ROOT = Path(__file__).parent.parent.parent
FLEET = fleet.parse(
    """
    name = "fleet"
    [[regions]]
    name = "eu-west-1"
    [coordination]
    regions = ["eu-west-1"]
    [schedules]
    timezone = "Asia/Tokyo"
    on = "queue"
    [[queues]]
    name = "default"
    """
)
YAML = 'version: 1\ncron:\n  - name: a\n    url: /a\n    schedule: "@daily"\n'
PYTHON = 'from lamplighter import job\n\n\n@job("@daily")\ndef a() -> None:\n    print("ran")\n'


def load(folder: Path, files: dict[str, str | bytes], fleet: Fleet | None = None) -> Catalogue:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return loader.load(folder, fleet)


def codes(found: Catalogue) -> list[str]:
    return [f"{f.file}:{f.line} {f.severity} {f.code}" for f in found.findings]


def test_the_sample_folder_is_clean_and_runs_every_minute() -> None:
    found = loader.load(ROOT / "cron", fleet.load(ROOT / "fleet.toml"))
    assert found.findings == []
    assert {job.kind for job in found.jobs} == {"crontab", "beanstalk", "python"}
    assert sum(job.schedule == "* * * * *" for job in found.jobs) >= 4
    assert any(job.stdin for job in found.jobs)
    assert len({job.name for job in found.jobs}) == len(found.jobs)


@pytest.mark.parametrize(
    "job",
    [pytest.param(job, marks=pytest.mark.slow) if "sleep" in job.command else job
     for job in loader.load(ROOT / "cron").jobs if job.policy.on == "lambda"],
    ids=lambda job: job.name.replace("/", "-"),
)
def test_each_sample_runs(job: Job) -> None:
    words = ["/bin/sh", "-c", job.command]
    if job.kind == "python":
        words = [sys.executable, "-m", "chalicelib.crontab.run_python_job", job.command]
    environment = {**job.env, "LAMP_REGION": "eu-west-1", "LAMP_SLOT": "2026-03-29T02:30", "PYTHONPATH": str(ROOT)}
    ran = subprocess.run(
        words, cwd=ROOT, env=environment, input=job.stdin, capture_output=True, text=True, timeout=60, check=False
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.strip()


def test_the_folder_tells_the_format(tmp_path: Path) -> None:
    found = load(tmp_path, {
        "cron.d/app": "* * * * * root true\n", "crontabs/www-data": "* * * * * date\n", "cron.yaml": YAML,
        "house.py": PYTHON, ".hidden": "?", "cron.d/.placeholder": "", "README.md": "words", "__pycache__/a.pyc": b"\0",
    })  # fmt: skip
    assert found.findings == []
    assert [(job.file, job.kind, job.user, job.command) for job in found.jobs] == [
        ("cron.d/app", "crontab", "root", "true"),
        ("cron.yaml", "beanstalk", "", "/a"),
        ("crontabs/www-data", "crontab", "www-data", "date"),
        ("house.py", "python", "", "cron.house:a"),
    ]


def test_files_that_nothing_reads_are_told(tmp_path: Path) -> None:
    found = load(tmp_path, {"cron.d/app.dpkg-old": "x\n", "crontab": "x\n", "other/app": "x\n"})
    assert [(f.file, f.severity, f.code) for f in found.findings] == [
        (file, "warning", "ignored-file") for file in ("cron.d/app.dpkg-old", "crontab", "other/app")
    ]


@pytest.mark.parametrize("kind", ["file", "folder", "nothing"])
def test_a_link_out_of_the_folder_is_not_followed(tmp_path: Path, kind: str) -> None:
    outside, folder = tmp_path / "outside", tmp_path / "cron"
    (folder / "cron.d").mkdir(parents=True)
    if kind == "file":
        outside.write_text("* * * * * root x\n")
    elif kind == "folder":
        outside.mkdir()
        (outside / "app").write_text("* * * * * root x\n")
    (folder / "cron.d" / "app").symlink_to(outside)
    found = loader.load(folder)
    assert (found.jobs, codes(found)) == ([], ["cron.d/app:1 error link-outside"])
    assert "put the file itself here" in str(found.findings[0])


def test_a_link_within_the_folder_is_followed(tmp_path: Path) -> None:
    load(tmp_path / "real", {"crontabs/a": "* * * * * true\n"})
    (tmp_path / "real" / "crontabs" / "b").symlink_to("a")
    (tmp_path / "cron").symlink_to("real")
    found = loader.load(tmp_path / "cron")
    assert ([job.file for job in found.jobs], found.findings) == (["crontabs/a", "crontabs/b"], [])


@pytest.mark.parametrize(("target", "why"), [("a", "symbolic links"), ("../crontabs", "directory"), ("b", "No such")])
def test_a_link_that_leads_nowhere_is_an_error(tmp_path: Path, target: str, why: str) -> None:
    (tmp_path / "crontabs").mkdir()
    (tmp_path / "crontabs" / "a").symlink_to(target)
    found = loader.load(tmp_path)
    assert codes(found) == ["crontabs/a:1 error unreadable"]
    assert why in found.findings[0].message


@pytest.mark.parametrize("command", ["/", "/reports/nightly?all=1"])
def test_a_path_may_be_posted_to(tmp_path: Path, command: str) -> None:
    found = load(tmp_path, {"crontabs/a": f"# lamp: on=http\n* * * * * {command}%body\n"})
    assert (codes(found), [job.command for job in found.jobs]) == ([], [command])


@pytest.mark.parametrize("command", [
    "curl -s http://a.example/", "reports", "http://a.example/x", "/a b", "/a ", "/\N{BULLET}",
])  # fmt: skip
def test_whatever_else_cannot_be_posted_is_refused(tmp_path: Path, command: str) -> None:
    found = load(tmp_path, {"crontabs/a": f"# lamp: on=http\n* * * * * {command}\n"})
    assert codes(found) == ["crontabs/a:2 error no-path"]
    assert f"on=http posts to a path, and {command!r} is none; write a path" in str(found.findings[0])


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    assert [finding.code for finding in loader.load(tmp_path / "cron").findings] == ["no-folder"]


def test_an_unreadable_file_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    (tmp_path / "crontabs").mkdir()
    (tmp_path / "crontabs" / "a").touch()
    assert codes(loader.load(tmp_path)) == ["crontabs/a:1 error unreadable"]


def test_equal_jobs_get_numbers(tmp_path: Path) -> None:
    found = load(tmp_path, {"crontabs/a": "* * * * * x\n@daily x\n@hourly x\n"})
    first = found.jobs[0].name
    assert [job.name for job in found.jobs] == [first, f"{first}-2", f"{first}-3"]


def test_equal_chosen_names_are_an_error(tmp_path: Path) -> None:
    line = "# lamp: name=a\n* * * * * true\n"
    found = load(tmp_path, {"crontabs/a": line, "crontabs/b": line})
    assert codes(found) == ["crontabs/b:2 error double-name"]


def test_the_fleet_gives_zone_and_target(tmp_path: Path) -> None:
    found = load(tmp_path, {"crontabs/a": "* * * * * x\n", "house.py": PYTHON}, FLEET)
    assert [(job.tz, job.policy) for job in found.jobs] == [
        ("Asia/Tokyo", Policy(on="queue")),
        ("Asia/Tokyo", Policy()),
    ]


@pytest.mark.parametrize(
    ("policy", "words"),
    [("on=ecs", "schedules.ecs"), ("on=ssm", "schedules.ssm"), ("on=http", "schedules.http"),
     ("on=queue queue=other", "'other'")],
)  # fmt: skip
def test_what_jobs_need_must_be_in_the_fleet(tmp_path: Path, policy: str, words: str) -> None:
    command = "/a" if policy == "on=http" else '{"task": "a.b"}'
    found = load(tmp_path, {"crontabs/root": f"# lamp: {policy}\n* * * * * {command}\n"}, FLEET)
    assert codes(found) == ["crontabs/root:2 error target"]
    assert words in str(found.findings[0])


@pytest.mark.parametrize("command", [
    '{"task": "invoices.render"}', '{"task": "a.b.c", "args": {"share": "5\\%"}, "key": "k", "meta": {}}',
])  # fmt: skip
def test_a_task_may_be_sent(tmp_path: Path, command: str) -> None:
    found = load(tmp_path, {"crontabs/a": f"# lamp: on=queue\n* * * * * {command}\n"})
    assert (codes(found), [job.policy.on for job in found.jobs]) == ([], ["queue"])


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("sync --all", "invalid character"), ('"invoices.render"', "got `str`"), ("", "truncated"),
        ('{"job": "a.b"}', "unknown field `job`"), ('{"args": {}}', "field `task`"),
        ('{"task": "a.b", "args": []}', "got `array`"), ('{"task": "render"}', "'render'"),
        ('{"task": "a-b.c"}', "module.function"), ('{"task": "a.b"}%more', "standard input"),
        ('{"task": "a.b", "args": {"share": "5%"}}', "truncated"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("by", ["# lamp: on=queue", "# on=queue stands in fleet.toml"])
def test_whatever_else_would_die_in_the_queue_is_refused(tmp_path: Path, command: str, words: str, by: str) -> None:
    found = load(tmp_path, {"crontabs/a": f"{by}\n* * * * * {command}\n"}, FLEET)
    finding = next(finding for finding in found.findings if finding.code == "no-task")
    assert str(finding).startswith("crontabs/a:2:1: error: on=queue sends what no worker takes: ")
    assert words in finding.message
    assert 'write {"task": "invoices.render", "args": {"customer": 7}} as the command' in finding.remedy


@pytest.mark.parametrize(("url", "wrong"), [("/a/b?c=7", False), ("/a/b/", False), ("/a", True), ("/", True),
                                            ("/a-b/c", True), ("/a/b%20c", True)])  # fmt: skip
def test_an_address_on_a_queue_must_name_a_task(tmp_path: Path, url: str, wrong: bool) -> None:
    text = YAML.replace("  - name", "  # lamp: on=queue\n  - name").replace("url: /a", f"url: {url}")
    found = load(tmp_path, {"cron.yaml": text}, FLEET)
    assert codes(found) == (["cron.yaml:4 error no-task"] if wrong else [])
    assert all("write url: /invoices/render?customer=7" in finding.remedy for finding in found.findings)


def test_beanstalk_needs_a_web_server_or_a_queue(tmp_path: Path) -> None:
    assert "on=queue" in load(tmp_path, {"cron.yaml": YAML}, FLEET).findings[0].remedy


@pytest.mark.parametrize(
    ("body", "line", "words"),
    [
        ('@job("61 * * * *")\ndef a(): ...', 3, "bad minute"),
        ('@job("@reboot")\ndef a(): ...', 3, "@reboot"),
        ('@job("* * * * * x")\ndef a(): ...', 3, "bad command"),
        ('\n@job("@daily", tz="Mars/Olympus")\ndef a(): ...', 4, "Mars/Olympus"),
        ('@job("@daily", overlap="never")\ndef a(): ...', 3, "overlap"),
        ('@job("@daily", timeout="1h")\ndef a(): ...', 3, "13m"),
        ('@job("@daily", overlap="replace")\ndef a(): ...', 3, "write a crontab line with on=ecs or on=ssm"),
        ('@job("@daily")\ndef a(x): ...', 3, "arguments"),
        ('@job("@daily")\nasync def a(): ...', 3, "plain function"),
        ('def f():\n    @job("@daily")\n    def a(): ...\nf()', 4, "plain function"),
        ('@job("@daily")\ndef a(): ...\n@job("@daily")\ndef a(): ...', 5, "twice"),
        ("@job\ndef a(): ...", 3, "write @job("),
        ("@job()\ndef a(): ...", 3, "TypeError"),
        ('@job("@daily", colour="red")\ndef a(): ...', 3, "colour"),
        ('@job("@daily", on="queue")\ndef a(): ...', 3, "'on'"),
        ('@job("@daily", queue="default")\ndef a(): ...', 3, "'queue'"),
        ("def a(:", 3, "SyntaxError"),
        ("import sys\nsys.exit(3)", 4, "SystemExit"),
        ("def f():\n    1 / 0\nf()", 4, "ZeroDivisionError"),
        ("import nowhere_to_be_found", 3, "nowhere_to_be_found"),
    ],
)
def test_mistakes_in_python_jobs(tmp_path: Path, body: str, line: int, words: str) -> None:
    found = load(tmp_path, {"house.py": f"from lamplighter import job\n\n{body}\n"})
    assert [f"{f.file}:{f.line} {f.severity}" for f in found.findings] == [f"house.py:{line} error"]
    assert words in str(found.findings[0])


def test_a_python_file_needs_a_name_that_can_be_imported(tmp_path: Path) -> None:
    assert codes(load(tmp_path, {"night-jobs.py": PYTHON})) == ["night-jobs.py:1 error python"]


def test_python_jobs_leave_nothing_behind(tmp_path: Path) -> None:
    registered = list(decorator.REGISTRY)
    body = PYTHON.replace('"@daily"', '"0 0 * * fri-sun", name="night/round", retries=2, jitter="1m"')
    (only,) = load(tmp_path, {"behind.py": body}).jobs
    assert (only.name, only.policy) == ("night/round", Policy(retries=2, jitter=60))
    assert "cron.behind" not in sys.modules
    assert registered == decorator.REGISTRY


def test_jobs_of_another_file_are_not_taken_twice(tmp_path: Path) -> None:
    body = f"{PYTHON}a.__module__ = 'cron.elsewhere'\n"
    assert load(tmp_path, {"house.py": body}) == ([], [])


def test_the_decorator_leaves_the_function_alone() -> None:
    def a() -> int:
        return 7

    try:
        assert job("@daily")(a) is a
        assert decorator.REGISTRY[-1].schedule == "@daily"
    finally:
        decorator.REGISTRY.pop()


def test_a_job_ends_as_its_function_does(tmp_path: Path) -> None:
    (tmp_path / "cron").mkdir()
    (tmp_path / "cron" / "bad.py").write_text("def a():\n    raise ValueError('no oil')\n")
    words = [sys.executable, "-m", "chalicelib.crontab.run_python_job", "cron.bad:a"]
    environment = {"PYTHONPATH": f"{tmp_path}:{ROOT}"}
    ran = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 1
    assert "no oil" in ran.stderr
