"""How a process of root gives up the powers of root, as no Lambda has any. Standard library only.

The user stays root, so that files and processes look as before. But /proc of a process with more powers, or of one that
may not be dumped, is closed (ptrace(2), access mode checking), and so are the files of other users.
"""

import ctypes
import struct
import sys

_DUMPABLE, _DROP_FROM_BOUNDS, _NO_NEW_PRIVILEGES = 4, 24, 38  # linux/prctl.h
_VERSION_3 = 0x20080522  # linux/capability.h


def close() -> None:
    """Closes this process to all that have its user and no power over others, as if they were on other machines."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_DUMPABLE, 0, 0, 0, 0)


def give_up() -> None:
    """Without any capability, now and in all programs that this process starts."""
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None, use_errno=True)
    number = 0
    while not libc.prctl(_DROP_FROM_BOUNDS, number, 0, 0, 0):
        number += 1  # until the kernel knows no more of them, or this process may not drop any
    libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    if libc.capset(struct.pack("Ii", _VERSION_3, 0), struct.pack("6I", 0, 0, 0, 0, 0, 0)):
        raise OSError(ctypes.get_errno(), "the capabilities of this process cannot be given up")
