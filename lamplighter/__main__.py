"""The command `lamp` of an installed Lamplighter. It calls the product's own `commands`, as ./lamp does."""

import os
import sys
from pathlib import Path


def product() -> Path:
    """The folder of the product, one down in the wheel, one up in a checkout."""
    installed = Path(__file__).resolve().with_name("_product")
    return installed if installed.is_dir() else installed.parent.parent


def main() -> None:
    """Replaces this process. The modules are the product's, whatever the user's folder."""
    os.environ["PYTHONPATH"] = str(product())
    os.execv(sys.executable, [sys.executable, "-P", "-m", "commands", *sys.argv[1:]])  # noqa: S606 - no shell is meant


if __name__ == "__main__":
    main()
