"""Which programs of a crontab line a Lambda lacks."""

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.crontab import loader
from chalicelib.crontab.lambda_image import INSTALLED
from chalicelib.crontab.parser import DEFAULTS
from chalicelib.crontab.programs import missing


@pytest.mark.parametrize(("command", "without"), [
    ("/usr/bin/php x", ["/usr/bin/php"]),
    ("mysqldump a | gzip > /tmp/b", ["mysqldump", "gzip"]),
    ("rsync -a a b", ["rsync"]),
    ("cd /srv/shop && php artisan", ["folder /srv/shop", "php"]),
    ("cd /tmp && ./run.sh", []),
    ("./run.sh", ["./run.sh"]),
    ("echo hi; sleep 2", []),
    ("sort | tr '\\n' ' '", []),
    ('sum=0; for n in 1 2 3; do sum=$((sum + n)); done; echo "x $sum"', []),
    ("test -x /usr/sbin/anacron || ( cd / && run-parts --report /etc/cron.daily )", ["run-parts"]),
    ("command -v x > /dev/null && x 1", ["x"]),
    ("nice -n 19 find / -name core -delete", ["find"]),
    ("env -u A B=c timeout -k 1 50 tar cz x", ["tar"]),
    ("python3 /var/task/x.py", ["python3"]),
    ("/var/lang/bin/python3 -m x", []),
    ("bash -c 'cd /tmp && git pull'", ["git"]),
    ("$HOME/bin/x; \"$TOOL\" y", []),
    ("FOO=bar wget -q x 2>&1 >> /tmp/log", ["wget"]),
    ("a() { echo x; }; a", []),
    ("if [ -d /x ]; then /usr/lib/php/sessionclean; fi", ["/usr/lib/php/sessionclean"]),
    ("cat <<< x | grep -c 'php; rsync' # ssh", []),
    ("x=$(mysql -e y) && echo `hostname`", ["mysql", "hostname"]),
    ("/var/task/cron/x.sh", []),
    ("/usr/local/bin/x", ["/usr/local/bin/x"]),
    ("case $x in a) foo;; b) true;; esac", ["foo"]),
    ("(sleep 5; kill 1) & { echo a; rsync b; }", ["rsync"]),
    ("", []),
])
def test_what_a_line_needs_and_a_lambda_lacks(command: str, without: list[str]) -> None:
    assert missing(command, DEFAULTS) == without


@pytest.mark.parametrize(("variables", "command", "without"), [
    ({"PATH": "/var/lang/bin:/usr/bin:/bin"}, "python3 x", []),
    ({"PATH": "/usr/local/sbin:/usr/local/bin:/usr/bin"}, "php x", ["php"]),
    ({"PATH": "/var/task/bin:/usr/bin"}, "mine x", []),
    ({"SHELL": "/bin/zsh"}, "true", ["/bin/zsh"]),
    ({"SHELL": "/bin/bash"}, "true", []),
])
def test_the_variables_of_the_line_matter(variables: dict[str, str], command: str, without: list[str]) -> None:
    assert missing(command, DEFAULTS | variables) == without


@given(st.text(alphabet="ab '\"\\\\$(){}|&;<>`\n#=/", max_size=40))
def test_any_command_is_read(command: str) -> None:
    assert all(missing(command, DEFAULTS))


def test_what_the_list_has_is_the_usual_kind_of_program() -> None:
    assert {"date", "sort", "curl", "awk", "sed", "grep", "bash"} <= INSTALLED
    assert not {"find", "xargs", "tar", "gzip", "ps", "which", "flock", "rsync", "php", "mysqldump", "ssh"} & INSTALLED


def test_a_python_line_is_told_of_the_path(tmp_path: Path) -> None:
    (tmp_path / "crontabs").mkdir()
    (tmp_path / "crontabs" / "a").write_text("0 1 * * * python3 x.py\n")
    [found] = loader.load(tmp_path).findings
    assert found.code == "no-program" and "PATH=/var/lang/bin" in found.remedy


def test_the_shells_own_words_are_known() -> None:
    own = subprocess.run(["bash", "-c", "enable -a | cut -d' ' -f2"], capture_output=True, text=True, check=True).stdout
    assert [word for word in own.split() if missing(word, DEFAULTS)] == []
