"""All jobs of a release in one file, each decoded only when it is asked for."""

import hashlib
import struct
import zlib
from bisect import bisect_left
from collections.abc import Sequence
from itertools import pairwise

import msgspec

from chalicelib.crontab.container import Packed, pack
from chalicelib.crontab.job import Job

_MAGIC = b"LAMPJOB1"
_ENTRY = struct.Struct("<III")  # where a job's JSON begins among the records, its length, its CRC-32
_INDEX, _KEYS, _ORDER, _RECORDS = range(4)
_decoder = msgspec.json.Decoder(Job)


def build(jobs: Sequence[Job]) -> bytes:
    """The file `jobs.bin`. Job i is `jobs[i]`, as bit i of the timetable. Names must differ (`ValueError`)."""
    order = sorted(range(len(jobs)), key=lambda index: _key(jobs[index].name))
    for job, following in pairwise(sorted(jobs, key=lambda job: job.name)):
        if job.name == following.name:
            raise ValueError(f"two jobs have the same name {job.name!r}")
    index, records, at = [], [], 0
    for job in jobs:
        record = msgspec.json.encode(job)
        index.append(_ENTRY.pack(at, len(record), zlib.crc32(record)))
        records.append(record)
        at += len(record)
    keys = struct.pack(f"<{len(jobs)}Q", *(_key(jobs[number].name) for number in order))
    slices = b"".join(index), keys, struct.pack(f"<{len(jobs)}I", *order), b"".join(records)
    return pack(_MAGIC, {"jobs": len(jobs)}, slices)


class JobFile:
    """The jobs of `jobs.bin` by number and by name."""

    def __init__(self, file: Packed) -> None:
        self._file = file
        self._length: int = file.facts["jobs"]
        self._index: memoryview | None = None
        self.digest = file.digest

    @classmethod
    def load(cls, data: bytes) -> "JobFile":
        """The book in `data`. `packed.Damaged` if that is no such file, or cut short."""
        return cls(Packed(data, _MAGIC, "book of jobs (jobs.bin)"))

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, number: int) -> Job:
        if not 0 <= number < self._length:
            raise IndexError(f"there is no job {number}, since the release has {self._length}")
        if self._index is None:
            self._index = self._file.slice(_INDEX)
        at, size, check = _ENTRY.unpack_from(self._index, _ENTRY.size * number)
        record = self._file.unchecked(_RECORDS)[at : at + size]
        if zlib.crc32(record) != check:
            raise self._file.damaged(f"job {number} is not the one that the release wrote")
        return _decoder.decode(record)

    def find(self, name: str) -> int | None:
        """The number of the job of that name, or None."""
        key = _key(name)
        keys, order = self._file.slice(_KEYS).cast("Q"), self._file.slice(_ORDER).cast("I")
        at = bisect_left(keys, key)
        while at < self._length and keys[at] == key:
            if self[order[at]].name == name:
                return int(order[at])
            at += 1
        return None


def _key(name: str) -> int:
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little")
