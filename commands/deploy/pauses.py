"""The pauses of jobs over a deployment. None is lost without a word, and one goes along with a job that gets a name."""

from collections.abc import Iterator, Mapping, Sequence

from chalicelib import foreign
from chalicelib.aws.store import DynamoStore, Item, ReplicatedStore, Store
from chalicelib.crontab.dst import stamp
from chalicelib.crontab.identity import Changes, Named
from chalicelib.engine import state
from chalicelib.engine.schema import Unreadable
from chalicelib.schedules.state import PAUSE, pause_key
from commands.deploy.account import Target, spoken
from commands.deploy.packaging import Package
from commands.errors import UsageError

_PARTITION = pause_key("")[0]
_MOST = 100_000
# So many jobs of one kind are listed, more are told as a number.
_LISTED = 20
REMEDY = ("nothing was changed. To keep a pause, write `# lamp: name=NAME` with that name above the job that it is "
          "meant for, or @job(name=...). --drop-pauses deletes the pauses of all these jobs. To end one alone, type "
          "./lamp run schedules.resume '{\"job\": \"NAME\"}' --apply")


class Pauses:
    """The pauses of a stage, as they were when this was made."""

    def __init__(self, target: Target, package: Package) -> None:
        name, regions = f"{package.stack}-coordination", package.fleet.coordination.regions
        self._region, self._names = regions[0], package.names
        self._store: Store = ReplicatedStore([DynamoStore(name, region, target.client) for region in regions])
        self._held = {item.sk: item for item in self._read()}

    def _read(self) -> Sequence[Item]:
        with spoken(self._region):
            try:
                return self._store.query(_PARTITION, limit=_MOST)
            except Exception as error:
                if _is_missing(error):  # before the first deployment there is no table
                    return ()
                raise

    @property
    def held(self) -> dict[str, str]:
        """The time and the reason of each pause, by the name of its job."""
        return {name: self._told(self._held[name]) for name in self._held}

    def lost(self) -> list[str]:
        """A line for each paused job that has no successor in the package."""
        known = {one for job in self._names.jobs for one in (job.name, *job.former)}
        return [f"{foreign.line(name)} is paused ({self._told(item)}), and this release has no such job"
                for name, item in sorted(self._held.items()) if name not in known]

    def carry(self) -> None:
        """Pauses each job that was paused under a former name. The old release still needs that one."""
        held = {item.sk: item for item in self._read()}  # somebody may have resumed one while the user was asked
        with spoken(self._region):
            for job in self._names.jobs:
                item = next((held[name] for name in job.former if name in held), None)
                if item and job.name not in held:
                    self._store.create(*pause_key(job.name), item.body)

    def clear(self) -> None:
        """Deletes the pauses under names that no job has any more. No region may have the old release by then."""
        current = {job.name for job in self._names.jobs}
        with spoken(self._region):
            for name, item in self._held.items():
                if name not in current:
                    self._store.delete(item)

    def _told(self, item: Item) -> str:
        pause = state.read(self._store, item, PAUSE)
        if isinstance(pause, Unreadable):
            return "its pause cannot be read"
        return foreign.line(f"since {stamp(pause.value.since // 60)}Z: {pause.value.reason}")


def _is_missing(error: Exception) -> bool:
    return type(error).__name__ == "ResourceNotFoundException"


def told(names: Named, held: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """The effect of a deployment on the jobs, as pairs of a word and a name. Unchanged jobs are not told."""
    changes: Changes = names.changes
    current = {one: job.name for job in names.jobs for one in (*job.former, job.name)}
    kinds = (
        ("rename", [f"{old} -> {new}" for old, new in changes.renamed]), ("edit", changes.edited),
        ("add", changes.added), ("remove", changes.removed),
        ("paused", [f"{current.get(name, name)} ({why})" for name, why in sorted(held.items())]))
    for word, some in kinds:
        yield from ((word, foreign.line(name)) for name in some[:_LISTED])
        if len(some) > _LISTED:
            yield word, f"and {len(some) - _LISTED:,} more"


def refuse(lost: Sequence[str]) -> None:
    """Raises the `UsageError` that names the pauses that a release would lose."""
    if lost:
        raise UsageError("\n".join([*lost, REMEDY]))
