"""The programs and folders of a Lambda's image.

The list is that of the image of Python on Amazon Linux 2023 (public.ecr.aws/lambda/python:3.12 and later), which has
the packages bash, coreutils-single, curl-minimal, gawk, glibc-common, gnupg2-minimal, grep, microdnf, rpm, sed and
libraries. `rpm -qa` of it is in https://github.com/amazonlinux/amazon-linux-2023/issues/585, and that it has no find in
https://github.com/aws/aws-lambda-base-images/issues/196. Without findutils, tar, gzip, procps and util-linux there are
also no xargs, ps, flock and others.

The folders are those of that image with `filesystem`, `setup`, `tzdata` and `ca-certificates`. Only `/tmp` is writable.
"""

import re

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
PROGRAM_FOLDERS = ("/bin", "/usr/bin", "/sbin", "/usr/sbin")

# Folders whose content a command, or the package, may have made.
_MADE = re.compile(r"/(?:tmp|var/task)(?:/.*)?")
_THERE = re.compile(r"""
    / | /(?:var/lang|var/runtime|proc|dev|sys|usr/lib64|usr/share/zoneinfo|etc/(?:pki|ssl|ld\.so[\w.]*))(?:/.*)?
  | /(?:opt|usr|usr/(?:bin|sbin|lib|share|local|local/bin)|bin|sbin|lib|lib64|etc|home|media|mnt|root|run|srv|boot)
  | /(?:var|var/(?:cache|lib|lock|log|mail|opt|run|spool|tmp))
  | /etc/(?:passwd|group|hosts|host\.conf|hostname|resolv\.conf|localtime|os-release|system-release|nsswitch\.conf
           |profile|bashrc|shells|services|protocols|environment|mtab|fstab|motd|filesystems|gai\.conf|rpm|yum\.repos\.d)
""", re.VERBOSE)


def may_be_made(path: str) -> bool:
    """Whether an earlier command or the package can have made `path`, an absolute one."""
    return bool(_MADE.fullmatch(path))


def has(path: str) -> bool:
    """Whether a Lambda has the absolute `path`, or may have it by then."""
    path = path.rstrip("/") or "/"
    folder, _, name = path.rpartition("/")
    if folder in PROGRAM_FOLDERS:
        return name in INSTALLED
    if folder == PYTHON_FOLDER:
        return bool(PYTHON.fullmatch(name))
    return bool(_THERE.fullmatch(path)) or may_be_made(path)
