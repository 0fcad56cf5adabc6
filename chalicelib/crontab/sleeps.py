"""The longest time that a command sleeps, as far as its words tell.

Random sleeps are bash's `$RANDOM` (0 to 32767), perl's `rand`, and Python's `random`, in the ways that crontabs have.
"""

import ast
import operator
import re
from collections.abc import Callable, Sequence

_RANDOM_MAX = 32_767
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}
_TIME = re.compile(r"([0-9.]+)([smhd]?)")
_ARITHMETIC = re.compile(r"\$\(\((?P<expr>.*)\)\)(?P<unit>[smhd]?)|\$\[(?P<old>.*)\](?P<u2>[smhd]?)", re.DOTALL)
_EXPR = re.compile(r"(?:\$\(|`)[ \t]*expr[ \t]+(?P<expr>[^)`]*)(?:\)|`)(?P<unit>[smhd]?)")
_DIGITS = re.compile(r"\$\{RANDOM:[0-9]+:([0-9]+)\}([smhd]?)")
_RAND = re.compile(r"sleep\s*\(?\s*(?:int\s*\(?\s*)?(?:rand|random\.randint|random\.uniform|random\.randrange)\s*"
                   r"\(?\s*(?:[0-9.]+\s*,\s*)?([0-9.]+)")
_FACTOR = re.compile(r"(?:random\.random|rand)\s*\(\s*\)\s*\*\s*([0-9.]+)")
_FIXED = re.compile(r"\bsleep\s*\(?\s*([0-9.]+)\b")
_OPERATORS: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.FloorDiv: operator.floordiv,
}


def longest(program: str, words: Sequence[str], raw: Sequence[str]) -> float:
    """The seconds for which `program` with these `words` sleeps at most. `raw` has the words as they are written."""
    if program == "sleep":
        return sum(_seconds(word) for word in raw[-(len(words) - 1):]) if len(words) > 1 else 0
    if re.fullmatch(r"perl|python[0-9.]*|ruby|php", program):
        script = " ".join(words[1:])
        times = [time for pattern in (_RAND, _FACTOR, _FIXED) for time in pattern.findall(script)]
        return sum(float(time) for time in times if time.count(".") < 2 and time != ".")
    return 0


def _seconds(written: str) -> float:
    """The seconds of one word of `sleep`. 0 if they cannot be told."""
    written = written.strip("\"'")
    if written in ("infinity", "inf"):
        return float("inf")
    if found := _TIME.fullmatch(written):
        return float(found[1]) * _UNITS[found[2]] if found[1].count(".") < 2 and found[1] != "." else 0
    if found := _DIGITS.fullmatch(written):
        return int("9" * min(int(found[1]), 5) or "0") * _UNITS[found[2]]
    if found := _ARITHMETIC.fullmatch(written) or _EXPR.fullmatch(written):
        groups = found.groupdict()
        expression = groups["expr"] or groups.get("old") or ""
        return max(_bound(expression), 0) * _UNITS[groups["unit"] or groups.get("u2") or ""]
    return float(_RANDOM_MAX) if written == "$RANDOM" else 0


def _bound(expression: str) -> float:
    """The highest value of an expression of numbers and `$RANDOM`. 0 if it has more than these."""
    text = re.sub(r"\\", "", expression)
    text = re.sub(r"\$?\{?\bRANDOM\b\}?\s*%\s*([0-9]+)", lambda found: str(max(int(found[1][:9]) - 1, 0)), text)
    text = re.sub(r"\$?\{?\bRANDOM\b\}?", str(_RANDOM_MAX), text).replace("/", "//")
    try:
        return _value(ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, ValueError, ZeroDivisionError, OverflowError, RecursionError, MemoryError):
        return 0


def _value(node: ast.expr) -> float:
    if isinstance(node, ast.Constant) and isinstance(node.value, int):
        return min(node.value, 10**9)
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        return _OPERATORS[type(node.op)](_value(node.left), _value(node.right))
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mod):
        return min(_value(node.left), _value(node.right) - 1)
    raise ValueError("neither a number nor one of + - * / %")
