"""The programs that a crontab line starts, and which of them a Lambda does not have.

It reads a command only as far as it must to find the words that name programs. What it cannot know, it leaves alone: a
name that a variable makes, a file that an earlier command may have made.

The list is that of the image of Python on Amazon Linux 2023 (public.ecr.aws/lambda/python:3.12 and later), which has
the packages bash, coreutils-single, curl-minimal, gawk, glibc-common, gnupg2-minimal, grep, microdnf, rpm, sed and
libraries. `rpm -qa` of it is in https://github.com/amazonlinux/amazon-linux-2023/issues/585, and that it has no find in
https://github.com/aws/aws-lambda-base-images/issues/196. Without findutils, tar, gzip, procps and util-linux there are
also no xargs, ps, flock and others.
"""

import re
from collections.abc import Iterator, Mapping

# bash's own, POSIX mode included (bash 5.2, `enable -a`), with the words that may stand before a command.
_BUILTINS = ("""
. : [ [[ ]] alias bg bind break builtin caller cd command compgen complete compopt continue declare dirs disown echo
enable eval exec exit export false fc fg getopts hash help history jobs kill let local logout mapfile popd printf pushd
pwd read readarray readonly return set shift shopt source suspend test times trap true type typeset ulimit umask unalias
unset wait
""")
# coreutils-single 8.32 as Fedora builds it: without kill and uptime.
_COREUTILS = ("""
arch b2sum base32 base64 basename basenc cat chcon chgrp chmod chown chroot cksum comm cp csplit cut date dd df dir
dircolors dirname du echo env expand expr factor false fmt fold groups head hostid id install join link ln logname ls
md5sum mkdir mkfifo mknod mktemp mv nice nl nohup nproc numfmt od paste pathchk pinky pr printenv printf ptx pwd
readlink realpath rm rmdir runcon seq sha1sum sha224sum sha256sum sha384sum sha512sum shred shuf sleep sort split stat
stdbuf stty sum sync tac tail tee test timeout touch tr true truncate tsort tty uname unexpand uniq unlink users vdir
wc who whoami yes
""")
_OTHERS = ("""
bash sh curl awk gawk grep egrep fgrep sed getconf getent iconv ldd locale localedef gencat catchsegv sprof tzselect
zdump zic gpg gpg2 gpgv gpg-agent gpgconf microdnf rpm rpmkeys rpmdb alternatives update-alternatives trust
update-ca-trust
""")
BUILTINS, INSTALLED = frozenset(_BUILTINS.split()), frozenset((_COREUTILS + _OTHERS).split())
# Programs of crontabs in public, which a Lambda does not have.
_ELSEWHERE = ("""
7z ansible ansible-playbook apt apt-get aptitude artisan autossh aws borg bundle bzip2 certbot composer cpulimit crontab
dnf docker docker-compose dpkg drush expect find flock fetchmail freshclam gcloud git gsutil gunzip gzip hwclock ionice
ip iptables java journalctl kill killall kubectl lftp logger logrotate mailq make mariadb mariadb-dump mongo mongodump
msmtp mutt mysql mysqladmin mysqlcheck mysqldump nc nmap node npm npx ntpdate openssl perl pg_dump pg_dumpall pgrep php
ping pkill poweroff ps psql python python2 python3 rails rake rclone reboot redis-cli restic rkhunter rsync ruby
run-parts s3cmd scp sendmail service setsid sh shutdown sqlite3 ssh start-stop-daemon su sudo svn systemctl tar updatedb
uptime wget which wp xargs xz yarn yum zcat zip
""")
ELSEWHERE = frozenset(_ELSEWHERE.split())
# Python lies outside of the PATH that cron gives to a line.
PYTHON = re.compile(r"(python(3(\.\d+)?)?|pip(3(\.\d+)?)?)")
PYTHON_FOLDER = "/var/lang/bin"

_FOLDERS = ("/bin", "/usr/bin", "/sbin", "/usr/sbin")
# Folders that a Lambda has, or that a command may make.
_MADE = re.compile(r"/(tmp|var/task)(/.*)?")
_THERE = re.compile(r"/|/(var/lang|var/runtime|proc|dev|etc)(/.*)?|/(opt|usr|usr/bin|usr/sbin|usr/lib|bin|sbin|lib)"
                    r"|/(lib64|home|mnt|root|run|srv|var|var/cache|var/lib|var/log|var/spool|var/tmp)")
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*\+?=")
_FUNCTION = re.compile(r"([\w-]+)[ \t]*\([ \t]*\)")
# Words before a command, and those behind which none follows on.
_BEFORE = frozenset({"if", "then", "else", "elif", "do", "while", "until", "!", "time", "{"})
_NO_COMMAND = frozenset({"for", "case", "select", "function", "done", "fi", "esac", "}", "in", "[[", "(("})
# Programs whose last words are a command, with the number of their own words, and those of their options that take one.
_WRAPPERS = {"command": (0, ""), "builtin": (0, ""), "exec": (0, "a"), "env": (0, "uCS"), "nice": (0, "n"),
             "nohup": (0, ""), "timeout": (1, "ks"), "stdbuf": (0, "ioe"), "eval": (0, "")}
_SHELLS = frozenset({"bash", "sh"})
# A quoted text, an escaped character, an expansion, an operator, or plain text.
_TOKEN = re.compile(r"""
    '(?P<raw>[^']*)' | "(?P<quoted>(?:[^"\\]|\\.)*)" | \\(?P<escaped>.) | (?P<inner>\$\(|`|<\(|>\()
  | (?P<redirection>\d*(?:<<<|<<-?|>>|>&|<&|>\||<>|&>>|&>|>|<)) | (?P<operator>;;|&&|\|\||\|&|[;|&\n()])
  | (?P<blank>[ \t]+) | (?P<plain>[^\s'"\\;|&()<>`$]+|\$(?!\()|.)
""", re.VERBOSE | re.DOTALL)


def missing(command: str, environment: Mapping[str, str]) -> list[str]:
    """The programs and folders that `command` needs and a Lambda lacks, in order, each once.

    `environment` has the variables of the line: `PATH` and `SHELL` matter.
    """
    shell = environment.get("SHELL", "/bin/sh")
    if shell.rpartition("/")[2] not in _SHELLS:
        return [] if _has(shell, [], moved=False) else [shell]
    own = set(_FUNCTION.findall(command))
    path = environment.get("PATH", "").split(":")
    found: list[str] = []
    moved = False
    for words in _commands(command):
        words = _unwrapped(words)
        if not words or not words[0] or words[0] in own or "\0" in words[0]:
            continue
        if words[0] in _SHELLS and (script := _script(words)) is not None:
            found += missing(script, environment)
        if words[0] in ("cd", "pushd"):
            moved = True
            found += [f"folder {words[1]}"] if len(words) > 1 and not _is_there(words[1]) else []
        elif not _has(words[0], path, moved):
            found.append(words[0])
    return list(dict.fromkeys(found))


def _is_there(folder: str) -> bool:
    folder = folder.rstrip("/") or "/"
    return "\0" in folder or folder[0] != "/" or any(kind.fullmatch(folder) for kind in (_THERE, _MADE))


def _has(program: str, path: list[str], moved: bool) -> bool:
    """Whether a Lambda has `program`, or may have it by then."""
    folder, slash, name = program.rpartition("/")
    if not slash:
        by_path = PYTHON.fullmatch(name) and PYTHON_FOLDER in path
        return name in BUILTINS | INSTALLED or bool(by_path) or any(map(_MADE.fullmatch, path))
    if folder in _FOLDERS:
        return name in INSTALLED
    if folder == PYTHON_FOLDER:
        return bool(PYTHON.fullmatch(name))
    if folder.startswith("/"):
        return bool(_MADE.fullmatch(folder))
    return moved or "\0" in folder


def _unwrapped(words: list[str]) -> list[str]:
    """The words of a command without what stands before its program."""
    while words:
        if words[0] in _BEFORE or _ASSIGNMENT.match(words[0]):
            words = words[1:]
        elif words[0] in _NO_COMMAND:
            return []
        elif words[0] in _WRAPPERS and len(words) > 1 and words[1] not in ("-v", "-V"):
            inner = _arguments(words)
            if not inner:
                return words
            words = inner
        else:
            return words
    return []


def _arguments(words: list[str]) -> list[str]:
    """The command behind a program such as `nice -n 10` or `timeout 5`."""
    own, taking = _WRAPPERS[words[0]]
    rest = words[1:]
    while rest and rest[0].startswith("-"):
        takes = len(rest[0]) == 2 and rest[0][1] in taking
        rest = rest[2 if takes else 1:]
    return rest[own:]


def _script(words: list[str]) -> str | None:
    """The script of `sh -c SCRIPT`."""
    for number, word in enumerate(words[1:], 1):
        if re.fullmatch(r"-[a-z]*c", word):
            return words[number + 1] if number + 1 < len(words) else None
        if not word.startswith("-"):
            return None
    return None


def _commands(text: str) -> Iterator[list[str]]:
    """The simple commands of a shell script, each as its words. An expansion within a word is a NUL."""
    words: list[str] = []
    word: str | None = None
    to_file = False  # a redirection stands before this word, which is then no word of the command
    depth = 0
    for token in _TOKEN.finditer(text):
        kind = token.lastgroup or "plain"
        if kind == "plain" and token[0].startswith("#") and word is None:
            break
        if kind in ("raw", "quoted", "escaped", "plain"):
            piece = token[kind] or ""
            if kind in ("quoted", "plain"):
                piece = re.sub(r"\$.*|`.*|[*?].*" if kind == "plain" else r"\$.*|`.*", "\0", piece, flags=re.DOTALL)
            word = (word or "") + piece
            continue
        if kind == "redirection" and word is not None and word.isdigit():
            word = None
        if word is not None:
            if not to_file:
                words.append(word)
            word, to_file = None, False
        if kind == "redirection":
            to_file = True
        elif kind == "inner":
            # What is substituted is a command of its own. The word that it is in cannot be known.
            yield [*words, "\0"]
            words, depth = [], depth + (token[0] != "`")
        elif kind == "operator":
            depth += (token[0] == "(") - (token[0] == ")")
            if depth >= 0:
                yield words
            words, to_file, depth = [], False, max(depth, 0)  # `)` alone ends a pattern of `case`
    if word is not None and not to_file:
        words.append(word)
    yield words
