"""The two folders of the commands, the product's own, and that of the fleet.

In a checkout the product comes with an example fleet, so both are the same until somebody names another. The fleet's
folder also gets the output of commands, `.build` and `.world`.
"""

import os
import shlex
from pathlib import Path

from commands.errors import UsageError

# The checkout, or `lamplighter/_product` in site-packages.
PRODUCT = Path(__file__).resolve().parent.parent
# How `-C` reaches every module and every program that a command starts.
VARIABLE = "LAMP_FLEET"
_FILE = "fleet.toml"


def installed() -> bool:
    """Whether this is a wheel's copy and no checkout. Such a copy has no tests, and may not be writable."""
    return PRODUCT.name == "_product"


def fleet() -> Path:
    """The folder of the fleet that is worked on. `UsageError` if there is none.

    That is `-C` or LAMP_FLEET, else the nearest folder upwards with a fleet.toml, else a checkout's example.
    """
    if named := os.environ.get(VARIABLE):
        folder = Path(named).resolve()
        if not (folder / _FILE).is_file():
            raise UsageError(f"{named} has no {_FILE}. Name the folder of a fleet, or make one with ./lamp init "
                             f"{named}")
        return folder
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / _FILE).is_file():
            return folder
    if installed():
        raise UsageError(f"there is no {_FILE} in {here} or above. Go to the folder of a fleet, name it with -C DIR, "
                         "or make "
                      "one with ./lamp init DIR")
    return PRODUCT


def fleet_of(path: Path) -> Path:
    """The fleet.toml that speaks for a file or folder of schedules, the nearest above it, else that of `fleet`.

    `UsageError` if there is none.
    """
    above = path.resolve().parents
    return next((folder / _FILE for folder in above if (folder / _FILE).is_file()), None) or fleet() / _FILE


def published_sandbox() -> Path:
    """The file by which other terminals find the sandbox that runs this fleet."""
    return fleet() / ".world" / "state.json"


def own() -> bool:
    """Whether the fleet is somebody's own, and not the example."""
    return fleet() != PRODUCT


def command(words: str) -> str:
    """`lamp WORDS` as it is to be typed in this installation, in the folder where the user stands.

    It names the fleet if that was named, because another terminal does not know `-C` and LAMP_FLEET of this one.
    """
    named = f" -C {shlex.quote(str(fleet()))}" if os.environ.get(VARIABLE) else ""
    return spoken(f"./lamp{named} {words}")


def spoken(text: str) -> str:
    """`text` with the name of the command in this installation, `./lamp` in a checkout, else `lamp`."""
    return text.replace("./lamp", "lamp") if installed() else text
