"""Values of fleet.toml on their way into another language: one function for each language. Pure.

`foreign` does the same for text on a terminal and in notices. A shell's words go through `shlex.quote`.
"""

import re

# What systemd, the programs of a tunnel host and bash all read alike without quotes: no blank at an end, no backslash,
# no quote, nothing that does not print, and no placeholder of CloudFormation.
_PLAIN = re.compile(r"([A-Za-z0-9._+~:@%,/()=#-]+( +[A-Za-z0-9._+~:@%,/()=#-]+)*)?\Z")
# A placeholder of Fn::Sub that the product itself puts into the user data.
_OWN = re.compile(r"\$\{(AWS::[A-Za-z]+|Gateway)\}")


class Unwritable(ValueError):
    """The value cannot stand there in any form. The text says where, and what is wrong."""


def environment(values: dict[str, object]) -> str:
    """The lines `NAME=value` of an environment file inside a script for Fn::Sub.

    Raises `Unwritable` for a value that any of its readers would take for more than one value.
    """
    for name, value in values.items():
        if not _PLAIN.match(_OWN.sub("x", str(value))):
            raise Unwritable(f"{name.lower()}: {str(value)[:40]!r} cannot stand in a host's settings. Use letters, "
                             "digits and . _ + ~ : @ % , / ( ) -")
    return "\n".join(f"{name.upper()}={value}" for name, value in values.items())


def identifier(name: str) -> str:
    """`name` as a quoted identifier of MariaDB and MySQL. Raises `Unwritable` for what none may be."""
    if not name or "\0" in name or name.endswith(" ") or len(name) > 64:
        raise Unwritable(f"{name[:40]!r} is no name of a database or table. It has 1 to 64 characters")
    return "`" + name.replace("`", "``") + "`"


def known_host(alias: str, key: str) -> str:
    """A line of a known_hosts file: a gateway's alias, and the type and body of its public key without the comment."""
    words = [alias, *key.split()[:2]]
    if len(words) != 3 or any(not word.isprintable() or word != word.strip() or " " in word for word in words):
        raise Unwritable(f"{key[:40]!r} is no public key of a host. Copy /etc/ssh/ssh_host_ed25519_key.pub")
    return " ".join(words) + "\n"
