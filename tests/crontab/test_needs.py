"""The needs of commands that a Lambda, a container or a server does not meet, and the comments that meet them."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.crontab import diagnostics, needs, parser, shell
from chalicelib.crontab.diagnostics import Diagnostic
from chalicelib.crontab.parser import Source
from commands.cron import fix

USER = Source("crontabs/deploy", False, "deploy")


def codes(line: str, above: str = "") -> list[str]:
    [job] = parser.read(f"{above}\n{line}\n".encode(), USER).jobs
    return [need.code for need in needs.of(job)]


LINES = [
    # programs, folders and files that a Lambda does not have
    ("/usr/bin/php /srv/x.php", ["no-program"]),
    ("cd /srv/shop && php artisan", ["no-program"]),
    ("bash /srv/app/run.sh --all", ["no-file"]),
    ("curl -sf -o /srv/x https://example.com/", ["no-file"]),
    ("cat --number /etc/letsencrypt/renewal/x", ["no-file"]),
    ("rm -f /srv/cache/*.html", ["no-file"]),
    ("wc -l < /srv/x", ["no-file"]),
    ("touch --reference=/var/lib/x /tmp/y", ["no-file"]),
    (". /srv/env.sh; date", ["no-file"]),
    ("bash scripts/a.sh", ["no-file"]),
    ("./bin/x.sh", ["no-program"]),
    # a guard that leaves out the rest for ever
    ("if [ -x /usr/lib/tool/poll ]; then /usr/lib/tool/poll; fi", ["guard"]),
    ("[ -x /usr/lib/tool/poll ] && /usr/lib/tool/poll", ["guard"]),
    ("test -f /srv/run/on && curl -s https://example.com/", ["guard"]),
    ("[ -d /srv/run ] || exit 0; date", ["guard"]),
    ("command -v debian-sa1 > /dev/null && debian-sa1 1 1", ["guard"]),
    ("[[ -e /srv/x ]] && date", ["guard"]),
    (r"test -x /usr/bin/certbot -a \! -d /run/systemd/system && certbot renew", ["guard"]),
    # locks, users, homes, logs, the background, sleep
    ("flock -n /tmp/l curl -s https://example.com/", ["lock"]),
    ("flock -n /tmp/l /srv/app/run", ["no-program", "lock"]),
    ("flock -w 5 /tmp/l -c 'php x'", ["no-program", "lock"]),
    ("/usr/bin/flock -xn /var/lock/x.lock -c '/bin/bash up.sh'", ["no-file", "lock"]),
    ("/usr/bin/sudo -u app date", ["sudo"]),
    ("export PATH=/usr/local/bin:$PATH && date", []),
    ("sudo -u app date", ["sudo"]),
    ("su - app -c '/srv/run'", ["no-program", "sudo"]),
    ("sudo -u app /srv/app/run >> /var/log/app.log 2>&1", ["no-program", "sudo", "read-only"]),
    ("date >> /var/log/app.log 2>&1", ["read-only"]),
    ("date &> /home/u/x.log", ["read-only"]),
    ("~/bin/sync", ["home"]),
    ("cat $HOME/x ${HOME}/y", ["home"]),
    ("sh -c 'sleep 2; touch /tmp/made'&", ["background"]),
    ("(date; sleep 5) &", ["background"]),
    ("nohup curl -s https://example.com/ > /dev/null 2>&1 &", ["background"]),
    ("setsid sh -c 'sleep 600' & sleep 1", ["no-program", "background"]),
    (r"sleep $((RANDOM \% 3600)) && date", ["long-sleep"]),
    (r"sleep $(( ( RANDOM \% 60 ) + 1 ))m; date", ["long-sleep"]),
    ("sleep 20m; date", ["long-sleep"]),
    ("sleep 5m; date; sleep 5m", ["long-sleep"]),
    ("sleep infinity", ["long-sleep"]),
    ("sleep ${RANDOM:0:2}m", ["long-sleep"]),
    ("sleep `expr $RANDOM / 20`", ["long-sleep"]),
    ("/var/lang/bin/python3 -c 'import random,time;time.sleep(random.randint(0,3600))'", ["long-sleep"]),
    # no command at all, as other findings tell
    ("--mode=seats", []),
    ("2026 /usr/bin/php x", []),
    ("/var/lang/bin/python3 -c 'import random,time;time.sleep(random.random() * 3600)'", ["long-sleep"]),
    # nothing is wrong
    ("curl -fsS -m 10 --retry 5 -o /dev/null https://example.com/x", []),
    ("date > /tmp/x 2>&1; cat < /tmp/x", []),
    ("grep -c /health /tmp/x", []),
    ("echo /srv/x; printf '%s' /srv/y", []),
    ("cd /var/task && bash scripts/a.sh && ./bin/x", []),
    (r"sleep $((RANDOM \% 300)) && date", []),
    ("sleep 9m; date", []),
    ("[ -e /tmp/on ] && date", []),
    ("[ ! -e /srv/stop ] && date", []),
    ("test -e /srv/stop && exit 0; date", []),
    ("if [ -e /srv/stop ]; then exit 0; fi; date", []),
    ("[ -e /srv/stop ] || date", []),
    ("[ -x /usr/bin/curl ] && date", []),
    ("test -d /srv/x || date", []),
    ("[ -e /srv/x -o -e /tmp/x ] && date", []),
    ("date & date; wait", []),
    ("date 2>&1 | tail -1", []),
    ("ls /etc/hosts /usr/bin/curl /proc/1 /dev/null /etc/*.conf", []),
    ("awk '/srv/ {print}' /tmp/x && sed /x/d /tmp/y", []),
]


@pytest.mark.slow
@pytest.mark.parametrize(("command", "found"), LINES, ids=[command for command, _ in LINES])
def test_each_need_that_a_lambda_does_not_meet_is_found(command: str, found: list[str]) -> None:
    line = f"0 3 * * * {command.replace('%s', chr(92) + '%s')}"
    assert codes(line) == found


@pytest.mark.parametrize(("above", "command", "found"), [
    ("# lamp: on=ssm", "sudo -u app /srv/app/run >> /var/log/app.log &", []),
    ("# lamp: on=ssm", "flock -n /tmp/l /srv/app/run", ["as-root", "lock"]),
    ("# lamp: on=ssm overlap=skip", "flock -n /tmp/l /srv/app/run", ["as-root"]),
    ("# lamp: on=ssm", "runuser -u app -- /srv/app/run", []),
    ("# lamp: overlap=skip", "flock -n /tmp/l date", ["no-program"]),
    ("# lamp: on=ecs", "/srv/app/run &", ["background"]),
    ("# lamp: on=ecs", "sleep 20m", ["long-sleep"]),
    ("# lamp: on=ecs timeout=30m", "sleep 20m", []),
    ("# lamp: on=http", "/srv/app/run", []),
    ("HOME=/srv/app", "cat ~/x", ["no-file"]),
    ("APP=/srv/app", "cd $APP && date", ["no-program"]),
    ("APP=/tmp", "cd ${APP} && date > $APP/x", []),
    ("LOG=/var/log/x", "date >> $LOG", ["read-only"]),
])
def test_the_policy_and_the_variables_of_a_line_count(above: str, command: str, found: list[str]) -> None:
    assert codes(f"0 3 * * * {command}", above) == found


@pytest.mark.parametrize(("command", "message", "remedy"), [
    ("if [ -x /srv/x ]; then /srv/x; fi", "has no /srv/x, so each run ends as done and does nothing", "on=ssm"),
    ("[ -x /srv/x ] && /srv/x", "has no /srv/x, so each run fails and does nothing", "on=ecs"),
    ("[ -x /srv/x ] && /srv/x || true", "so each run ends as done", "on=ecs"),
    ("[ -x /srv/x ] || exit 0; date", "so each run ends as done and does nothing", "on=ssm"),
    ("[ -x /srv/x ] || exit 1; date", "so each run fails and does nothing", "on=ssm"),
    ("[ -s /srv/x ] && date; date", "so what follows `&&` never runs", "on=ssm"),
    ("[ -s /srv/x ] && date | cat || echo no", "so what follows `&&` never runs", "on=ssm"),
    ("if [ -e /srv/x ]; then date; else date; fi", "so what follows `then` never runs", "on=ssm"),
    ("if [ -e /srv/x ]; then date; fi; date", "so what follows `then` never runs", "on=ssm"),
    ("flock -n /tmp/l date", "flock locks nothing across Lambdas", "overlap=skip"),
    (r"sleep $((RANDOM \% 3600)); date", "sleeps up to 59m59s, and the time-out is 10m", "on=ssm timeout=1h10m"),
    ("sleep 700", "sleeps up to 11m40s", "on=ssm timeout=22m"),
    ("bash scripts/a.sh", "has no scripts/a.sh", "cd /var/task &&"),
    ("date >> /var/log/x", "cannot write to '/var/log/x', only below /tmp", "remove the redirection"),
])
def test_a_need_is_told_with_the_way_out(command: str, message: str, remedy: str) -> None:
    [job] = parser.read(f"0 3 * * * {command}\n".encode(), USER).jobs
    [need] = needs.of(job)
    assert message in need.message and remedy in need.remedy


def test_the_findings_of_a_file_are_told_in_groups() -> None:
    found = [Diagnostic(file, line, 1, "warning", code, f"no {line}", "write it") for file in ("a", "b")
             for line in range(1, 21) for code in ("no-program", "guard", "percent")]
    told = list(diagnostics.render(found, limit=100))
    assert len(told) == 2 * (1 + 1 + 20)
    assert ("a:1:1: warning: no 1 (and 19 more lines alike: 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, ...); write it "
            "[no-program]") in told


def comments(text: str, on: str = "ssm") -> str:
    data = text.encode("utf-8", "surrogateescape")
    return fix.apply(data, parser.read(data, USER).jobs, on).data.decode("utf-8", "surrogateescape")


@pytest.mark.parametrize(("text", "fixed"), [
    ("0 1 * * * php x\n", "# lamp: on=ssm user=deploy\n0 1 * * * php x\n"),
    ("# nightly\n\n\t0 1 * * *  php x  \n# end",
     "# nightly\n\n# lamp: on=ssm user=deploy\n\t0 1 * * *  php x  \n# end"),
    ("# lamp: timeout=1m\n0 1 * * * php x\n", "# lamp: timeout=1m\n# lamp: on=ssm user=deploy\n0 1 * * * php x\n"),
    ("# lamp: on=lambda\n0 1 * * * php x\n", "# lamp: on=lambda\n0 1 * * * php x\n"),
    ("# lamp: on=lambda\n0 1 * * * sleep 20m\n", "# lamp: on=lambda\n0 1 * * * sleep 20m\n"),
    ("# lamp: on=lambda timeout=1m\n0 1 * * * sleep 2m\n", "# lamp: on=lambda timeout=1m\n0 1 * * * sleep 2m\n"),
    ("# lamp: timeout=1m\n0 1 * * * flock /tmp/l date\n",
     "# lamp: timeout=1m\n# lamp: on=ssm user=deploy overlap=skip\n0 1 * * * flock /tmp/l date\n"),
    ("0 1 * * * sleep 11m\n", "# lamp: on=ssm user=deploy timeout=21m\n0 1 * * * sleep 11m\n"),
    ("61 * * * * php x\n0 1 * * * php x\r\n", "61 * * * * php x\n# lamp: on=ssm user=deploy\r\n0 1 * * * php x\r\n"),
    ("0 1 * * * date\n", "0 1 * * * date\n"),
    ("# lamp: on=ssm\n0 1 * * * php x\n", "# lamp: on=ssm\n# lamp: user=deploy\n0 1 * * * php x\n"),
    ("0 1 * * * sudo -u app php x\n", "# lamp: on=ssm\n0 1 * * * sudo -u app php x\n"),
])
def test_comments_are_written_above_the_lines_that_need_them(text: str, fixed: str) -> None:
    assert comments(text) == fixed
    if "# lamp: on=ssm" not in text:
        assert comments(text, "ecs") == fixed.replace("on=ssm user=deploy", "on=ecs").replace("on=ssm", "on=ecs")


lines = st.one_of(
    st.sampled_from([f"0 3 * * * {command}" for command, _ in LINES]),
    st.sampled_from(["", "# lamp: on=lambda", "# lamp: timeout=5m", "# lamp: overlap=skip", "# note", "A=b",
                     "HOME=/srv", "SHELL=/bin/zsh", "@reboot php x", "61 * * * * x", "\t@daily  php x",
                     "0 0 * * * php x\r"]),
    st.text(alphabet="a~$&;|/ -[]\\'\"{}()<>%\udce5", max_size=30).map("0 3 * * * {}".format))


@pytest.mark.slow
@given(st.lists(lines, max_size=12), st.sampled_from(["ssm", "ecs"]), st.booleans())
def test_writing_comments_adds_comments_and_changes_nothing_else(file: list[str], on: str, ended: bool) -> None:
    text = "\n".join(file) + ("\n" if ended else "")
    once = comments(text, on)
    assert comments(once, on) == once
    left = list(text.split("\n"))
    for line in once.split("\n"):
        if left and line == left[0]:
            left.pop(0)
        else:
            assert re.fullmatch(r"# lamp: (?:(?:on|user|overlap|timeout)=\w+ ?)+\r?", line)
    assert left == []
    before, after = (parser.read(one.encode("utf-8", "surrogateescape"), USER) for one in (text, once))
    assert [(job.name, job.command, job.schedule) for job in before.jobs] == [
        (job.name, job.command, job.schedule) for job in after.jobs]
    assert sorted(one.code for one in before.findings) == sorted(one.code for one in after.findings)


@given(st.text(alphabet="ab ~'\"\\$(){}|&;<>`\n#=/*[!", max_size=40))
def test_any_command_is_read_to_its_end(text: str) -> None:
    script = shell.read(text)
    assert all(len(command.words) == len(command.raw) for command in script.commands)


@pytest.mark.parametrize(("text", "words"), [
    ("a 'b c'\\ d \"e f\" g\\\nh", [("a", "b c d", "e f", "gh")]),
    ("a; b | c && d || e & f", [("a",), ("b",), ("c",), ("d",), ("e",), ("f",)]),
    ("a $(b `c d`) e", [("c", "d"), ("b", shell.UNKNOWN), ("a", shell.UNKNOWN, "e")]),
    ("a > b 2>> c < d e", [("a", "e")]),
    ("(a; (b)) | c", [("a",), ("b",), ("c",)]),
    ("a ~/b $HOME/c $D ${E%.x} *.f", [
        ("a", f"{shell.HOME}/b", f"{shell.HOME}/c", shell.UNKNOWN, shell.UNKNOWN, f"{shell.UNKNOWN}.f")]),
    ("a # b; c", [("a",)]),
    ("case $x in y) a;; *) b;; esac", [("a",), ("b",), ("esac",)]),
    ("a $((1 + (2))) b", [("a", shell.UNKNOWN, "b")]),
])
def test_the_commands_of_a_shell_line(text: str, words: list[tuple[str, ...]]) -> None:
    assert [command.words for command in shell.read(text).commands] == words


@pytest.mark.parametrize(("text", "unclosed"), [
    ("a 'b", "'"), ('a "b', '"'), ("a `b", "`"), ("a $(b", "$("), ("a ${b", "${"), ("a $((1 ", "$(("),
    ("a 'it\"s'", "")])
def test_a_quote_that_never_ends_is_told(text: str, unclosed: str) -> None:
    assert shell.read(text).unclosed == unclosed


@pytest.mark.parametrize(("user", "command", "found"), [
    ("www-data", "/srv/run", ["as-root"]), ("root", "/srv/run", []),
    ("www-data", "runuser -u www-data -- /srv/run", []),
    ("www-data", "sudo -u www-data /srv/run", []),
])
def test_a_line_of_another_user_is_told_that_a_server_runs_it_as_root(
    user: str, command: str, found: list[str]
) -> None:
    source = Source("cron.d/x", True, "")
    text = f"# lamp: on=ssm\n1 1 * * * {user} {command}\n"
    [job] = parser.read(text.encode(), source).jobs
    needs_of_job = needs.of(job)
    assert [need.code for need in needs_of_job] == found
    assert all("# lamp: user=www-data" in need.remedy and need.keys == {"user": "www-data"} for need in needs_of_job)
