"""A runner Lambda as a process of its own, for tests."""

# As Lambda calls it, with what it prints kept apart from what it answers.
_PROGRAM = """\
import json, sys
from chalicelib.{capability}.child.handler import handle
answer, sys.stdout = sys.stdout, sys.stderr
for line in sys.stdin:
    answer.write(json.dumps(handle(json.loads(line), None)) + "\\n")
    answer.flush()
"""


def program(capability: str) -> str:
    """A Python program that answers each line of its standard input as the runner of a capability would."""
    return _PROGRAM.format(capability=capability)
