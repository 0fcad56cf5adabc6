"""The names of jobs, which stay when a job is edited, because pauses, claims and history lie under them.

A name that its owner has chosen is the name. Any other job keeps the name under which it is deployed, and a new one is
called `<file>/<words of the command>`. Which job is which is a comparison of what is deployed with what is written. A
pair that is in doubt is no pair: then one job is removed and another one is added, and a deployment tells so.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence

import msgspec

from chalicelib.crontab import command
from chalicelib.crontab.job import Job

# A pair of jobs with unequal commands is one job from this likeness on, of at most 1. Words count most.
_ENOUGH, _WORDS, _SCHEDULE, _PLACE = 0.5, 0.6, 0.2, 0.2
# More pairs than these are not compared with one another. Then the lines count as being in order.
_COMPARED = 250_000
# How many names that a job had before go along with it.
_FORMER = 5
_WORD = re.compile(r"[^\W_]+")


class Changes(msgspec.Struct, frozen=True):
    """The fate of the deployed jobs. `renamed` has old and new names, which their owners chose.

    `edited` are jobs under their old names, with another command or schedule. Equal jobs are in none of these.
    """

    renamed: tuple[tuple[str, str], ...] = ()
    edited: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()


class Named(msgspec.Struct, frozen=True):
    """The jobs in their order, each under its name, and what is different from what is deployed."""

    jobs: tuple[Job, ...]
    changes: Changes


def named(jobs: Sequence[Job], *deployed: Sequence[Job]) -> Named:
    """`jobs` under the names that they have where they are deployed.

    `deployed` are the jobs of each release that some region has, the most important one first. Without any, all names
    are new. Names that people chose must differ.
    """
    was: dict[int, Job] = {}
    for release in deployed:
        taken = {one.name for one in was.values()}
        left = [number for number in range(len(jobs)) if number not in was]
        older = [one for one in release if one.name not in taken]
        for old, new in _Matching(older, [jobs[number] for number in left]).pairs().items():
            was[left[new]] = older[old]
    known = {one.name: one for release in reversed(deployed) for one in release}
    kept = tuple(_under_names(jobs, was, set(known)))
    return Named(kept, _changes(kept, was, known))


def _under_names(jobs: Sequence[Job], was: Mapping[int, Job], known: set[str]) -> Iterator[Job]:
    names = {number: job.chosen for number, job in enumerate(jobs) if _is_full(job)}
    taken = set(names.values())
    for number, old in was.items():
        if number not in names and old.name not in taken and _own(jobs[number]) in ("", _own(old)):
            names[number] = old.name
            taken.add(old.name)
    taken |= known
    for number, job in enumerate(jobs):
        name = names.get(number) or _free(_base(job), taken)
        taken.add(name)
        former: tuple[str, ...] = ()
        if number in was:
            old = was[number]
            former = old.former if old.name == name else (old.name, *old.former)[:_FORMER]
        yield msgspec.structs.replace(job, name=name, former=former)


def _base(job: Job) -> str:
    if job.kind == "beanstalk":
        return f"{command.prefix(job.file)}/{job.chosen}"
    if job.kind == "python":
        return f"{command.prefix(job.file)}.{job.chosen}"
    return command.name(job.file, job.command)


def _free(base: str, taken: set[str]) -> str:
    name, number = base, 1
    while name in taken:
        number += 1
        name = f"{base}-{number}"
    return name


def _is_full(job: Job) -> bool:
    """Whether the owner has chosen all of the name, and not only the part after the file's."""
    return bool(job.chosen) and job.chosen == job.name


def _own(job: Job) -> str:
    """The part of the name that is the owner's. Empty if there is none. Older releases did not note it."""
    if job.chosen or job.kind == "crontab":
        return job.chosen
    return job.name.partition("/")[2] if job.kind == "beanstalk" else job.command.rpartition(":")[2]


def _changes(jobs: Sequence[Job], was: Mapping[int, Job], known: Mapping[str, Job]) -> Changes:
    pairs = [(was[number], job) for number, job in enumerate(jobs) if number in was]
    gone = known.keys() - {old.name for old, _ in pairs} - {job.name for job in jobs}
    return Changes(
        renamed=tuple((old.name, new.name) for old, new in pairs if old.name != new.name),
        edited=tuple(new.name for old, new in pairs if old.name == new.name and _content(old) != _content(new)),
        added=tuple(job.name for number, job in enumerate(jobs) if number not in was),
        removed=tuple(name for name in known if name in gone))


def _content(job: Job) -> tuple[str, ...]:
    return job.command, job.stdin, job.user, job.schedule, job.tz


Key = Callable[[Job], Hashable]
# What two jobs have alike that are one job, from the surest to the least sure sign. A key of None is no sign.
_SIGNS: tuple[Key, ...] = (
    lambda job: job.name if not job.chosen or _is_full(job) else None,
    lambda job: (job.kind, job.file, _own(job)) if _own(job) else None,
    lambda job: (job.kind, job.file, *_content(job)),
    lambda job: (job.kind, job.file, job.command, job.stdin, job.user),
    lambda job: (job.kind, _own(job)) if _own(job) else None,
    lambda job: (job.kind, job.command, job.stdin, job.schedule, job.tz),
    lambda job: (job.kind, job.command, job.stdin),
)


class _Matching:
    """The search for the old job of each new one. Both are known by their numbers."""

    def __init__(self, old: Sequence[Job], new: Sequence[Job]) -> None:
        self.old, self.new = old, new
        self._new_of: dict[int, int] = {}
        self._old_of: dict[int, int] = {}

    def pairs(self) -> dict[int, int]:
        """The new number of each old job that is still there."""
        for number, sign in enumerate(_SIGNS):
            self._alike(sign, only_chosen=number == 0)
        before = -1
        while before < len(self._new_of):  # a second look finds lines that were moved and edited
            before = len(self._new_of)
            for old_file, new_file in self._files():
                self._compare(old_file, new_file)
        for sign in _SIGNS[2:]:
            self._alike(sign, doubtful=True)
        return self._new_of

    def _pair(self, old: int, new: int) -> None:
        self._new_of[old], self._old_of[new] = new, old

    def _alike(self, sign: Key, *, only_chosen: bool = False, doubtful: bool = False) -> None:
        """Pairs those that agree in `sign`, in their order. As many must be old as new, unless `doubtful`."""
        groups: dict[Hashable, tuple[list[int], list[int]]] = defaultdict(lambda: ([], []))
        for side, jobs, found in ((0, self.old, self._new_of), (1, self.new, self._old_of)):
            for number, job in enumerate(jobs):
                if number not in found and not (only_chosen and side and not _is_full(job)):
                    groups[sign(job)][side].append(number)
        groups.pop(None, None)
        for old, new in groups.values():
            if len(old) == len(new) or doubtful:
                for one, other in zip(old, new, strict=False):
                    self._pair(one, other)

    def _files(self) -> list[tuple[str, str]]:
        """Each file with itself, and each that was renamed, as the jobs tell that are in both."""
        before, after = {job.file for job in self.old}, {job.file for job in self.new}
        moved = {(self.old[old].file, self.new[new].file) for old, new in self._new_of.items()}
        renamed = {(one, other) for one, other in moved if one not in after and other not in before}
        return [*((file, file) for file in sorted(before & after)), *sorted(renamed)]

    def _compare(self, old_file: str, new_file: str) -> None:
        """Pairs the jobs of two files that are alike, in their order, so that all of them together are most alike."""
        old = [number for number, job in enumerate(self.old) if job.file == old_file]
        new = [number for number, job in enumerate(self.new) if job.file == new_file]
        lone_old = [one for one in old if one not in self._new_of]
        lone_new = [one for one in new if one not in self._old_of]
        if not lone_old or not lone_new:
            return
        here, there = set(old), set(new)
        rarity = _rarity(self.old[number] for number in old)
        anchors = {one: one for one in new if self._old_of.get(one) in here}
        places = dict(_places(old, self._new_of, there)), dict(_places(new, anchors, there))

        def likeness(one: int, other: int) -> float:
            found = _likeness(self.old[one], self.new[other], rarity) + _PLACE * (places[0][one] == places[1][other])
            return found if found >= _ENOUGH else 0.0

        if len(lone_old) * len(lone_new) > _COMPARED:
            pairs = [(one, other) for one, other in zip(lone_old, lone_new, strict=False) if likeness(one, other)]
        else:
            pairs = _aligned(lone_old, lone_new, likeness)
        for one, other in pairs:
            self._pair(one, other)


def _places(numbers: Sequence[int], known: Mapping[int, int], there: set[int]) -> Iterator[tuple[int, tuple[int, int]]]:
    """The neighbours of each job among those that are paired in these files, as new numbers. -1 is the file's end."""
    anchors = [known[one] if known.get(one) in there else None for one in numbers]
    before, above = [], -1
    for anchor in anchors:
        before.append(above)
        above = above if anchor is None else anchor
    below = -1
    for at in range(len(numbers) - 1, -1, -1):
        yield numbers[at], (before[at], below)
        below = below if anchors[at] is None else anchors[at]  # type: ignore[assignment]


def _rarity(jobs: Iterable[Job]) -> Counter[str]:
    """The number of jobs that have each word. A word of many lines tells little about one of them."""
    return Counter(word for job in jobs for word in set(_words(job)))


def _words(job: Job) -> list[str]:
    if job.kind == "python":
        return _WORD.findall(_own(job))
    return _WORD.findall(f"{_own(job)} {job.command} {job.stdin}" if job.kind == "beanstalk" else
                         f"{job.command} {job.stdin}")


def _likeness(old: Job, new: Job, rarity: Mapping[str, int]) -> float:
    """The likeness of two jobs of a file, from 0 to 0.8, by the words of their commands and by their schedules."""
    if old.kind != new.kind:
        return -1.0
    ours, theirs = Counter(_words(old)), Counter(_words(new))
    common, whole = _weight(ours & theirs, rarity), _weight(ours, rarity) + _weight(theirs, rarity)
    alike = (old.schedule, old.tz) == (new.schedule, new.tz)
    return _WORDS * (2 * common / whole if whole else 0.0) + _SCHEDULE * alike


def _weight(words: Mapping[str, int], rarity: Mapping[str, int]) -> float:
    return sum(count / max(1, rarity.get(word, 1)) for word, count in words.items())


def _aligned(
    old: Sequence[int], new: Sequence[int], likeness: Callable[[int, int], float]
) -> list[tuple[int, int]]:
    """The pairs, in the order of both, whose likenesses have the largest sum. A likeness of 0 makes no pair."""
    score = [[likeness(one, other) for other in new] for one in old]
    best = [[0.0] * (len(new) + 1) for _ in range(len(old) + 1)]
    for at in range(len(old) - 1, -1, -1):
        for to in range(len(new) - 1, -1, -1):
            paired = score[at][to] + best[at + 1][to + 1] if score[at][to] else 0.0
            best[at][to] = max(paired, best[at + 1][to], best[at][to + 1])
    pairs, at, to = [], 0, 0
    while at < len(old) and to < len(new):
        if score[at][to] and best[at][to] == score[at][to] + best[at + 1][to + 1]:
            pairs.append((old[at], new[to]))
            at, to = at + 1, to + 1
        elif best[at][to] == best[at + 1][to]:
            at += 1
        else:
            to += 1
    return pairs
