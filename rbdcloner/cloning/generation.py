# SPDX-License-Identifier: Apache-2.0
"""Is the database as new as the cluster: asked before anything is destroyed.

A backup that was restored knows nothing of what was made and delivered since.
So the database and the pools of its disks have a mark in common: the lineage's
uuid and a generation, which one manager a minute advances. A database whose
generation is behind a pool's is older than the cluster, and destroys nothing.

**The database is advanced first, the pools after it; the pools are read first,
the database after them.** So a pool is never ahead of the database that it
belongs to, whoever dies at whatever point:

* dead before the COMMIT: nothing has happened;
* dead after the COMMIT, or between two pools: the pools are behind, which
  is no fault, and the next advance brings them on;
* a pool that is not reached, or full, stays behind until it can be written;
* the COMMIT's answer is lost: the next look finds what came of it.

Nothing has to be tolerated, and a healthy service is never stopped. The other
order would leave a pool ahead of its own database after a crash, and whoever
forgives that forgives a backup of the last minute, too. An advance is a
compare-and-swap on the mark that this worker saw, in the database and in each
pool: a worker that stayed up while the database was restored cannot advance
the old one, and finds it behind what it remembers.

A pool without a mark is taken, if the database does not remember that it had
one; the pool is marked first, and that is remembered after it, so that a
crash in between leaves a pool that is ours and not yet remembered. One that
lost its mark is another pool: nothing in it is destroyed.

What remains: a backup that is restored within the generation that it was made
in, a minute, is not told from the present. And a worker that stays up while
the database is restored goes on for the time between two looks, 5 s, at the
most: each sweep begins with a look.
"""

from collections.abc import Collection
from collections.abc import Mapping
import dataclasses
import datetime
import logging
import threading
import time

from rbdcloner import errors
from rbdcloner import metrics
from rbdcloner.ceph.driver import Driver
from rbdcloner.db.lineage import Lineage
from rbdcloner.model import Mark

LOG = logging.getLogger(__name__)

#: What was seen longer ago is looked at again before it is relied on.
_VALID_S = 15.0

#: So many generations the pools, or a worker's memory, may be ahead of what
#: is seen in the pools: a week of minutes.
_PAST = 10_000


@dataclasses.dataclass(frozen=True, slots=True)
class Found:
    """What was seen at one moment.

    ``database`` is ``None`` where the schema has no place for it. ``marks``
    are the pools' texts; ``reasons`` why nothing in a pool is destroyed,
    ``reason`` why nothing at all is, ``recorded`` what the database says of
    that. ``advanced_at`` is when the database came to its generation.
    """

    database: Mark | None
    marks: dict[str, str]
    reasons: dict[str, str]
    reason: str = ''
    recorded: str = ''
    advanced_at: datetime.datetime = datetime.datetime.min

    @property
    def summary(self) -> str:
        """All that is against destruction, empty if nothing is."""
        return self.reason or '; '.join(self.reasons.values())


class Generation:
    """Compares one database with the pools of its disks.

    One object for a process, used by many threads.
    """

    def __init__(
        self, ceph: Driver, lineage: Lineage, pools: Collection[str]
    ) -> None:
        self._ceph = ceph
        self._lineage = lineage
        self._pools = sorted(pools)
        self._found: Found | None = None
        self._found_at = 0.0
        self._newest: Mark | None = None
        self._newest_lock = threading.Lock()
        self._remembered: set[str] = set()
        self._unwritten: dict[str, str] = {}
        self._told = ''
        self._lock = threading.Lock()

    def check(self, pool: str) -> None:
        """Return if what is in *pool* may be destroyed, or undone.

        Costs nothing while there was a look a moment ago.

        :raises DatabaseOutdated: it may not.
        :raises CephUnavailable: a pool cannot be looked at.
        """
        found = self._found
        if found is None or time.monotonic() - self._found_at > _VALID_S:
            found = self.look()
        reason = found.reason or found.reasons.get(pool)
        if reason:
            raise errors.DatabaseOutdated(reason=reason)

    def is_current(self) -> bool:
        """Look, and tell whether anything at all may be destroyed."""
        return not self.look().reason

    def look(self) -> Found:
        """Look at the pools, then at the database; what was seen.

        Pools that nobody has marked are taken.

        :raises CephUnavailable: a pool cannot be looked at; nothing is known.
        """
        with self._lock:
            looked_at = time.monotonic()
            try:
                found = self.see()
                self._note(found)
            except errors.Error:
                # What was seen before is not relied on.
                self._found = None
                raise
            self._tell(found)
            self._found, self._found_at = found, looked_at
            return found

    def advance(self) -> None:
        """Bring the database to its next generation, then the pools.

        Nothing where the database is older than the pools. Repeated, it is
        another generation.
        """
        found = self.look()
        if found.database is None or found.reason:
            return
        try:
            after = self._lineage.advance(found.database)
        except errors.RowMoved:
            # Another worker was faster, or the database is another by now.
            self.look()
            return
        self._remember_newest(after)
        self.mark(after, found)

    def strangers(self, found: Found, taken: Collection[str]) -> list[str]:
        """Return why pools are not this lineage's; not of those *taken*."""
        ours = found.database
        return [
            found.reasons.get(pool) or _difference(ours, pool, text)
            for pool, text in found.marks.items()
            if ours is not None
            and pool not in taken
            and (pool in found.reasons or not _is_of(ours, text))
        ]

    def renew(self, found: Found) -> Mark:
        """Bring the database past all pools, and these after it; its mark.

        Whatever was against it is over, and no deletion waits for it. Pools
        that are not there stay so.

        :raises RowMoved: the database is not as it was *found*.
        """
        ours = found.database
        if ours is None:
            raise errors.RowMoved(name='the lineage', expected='a mark')
        past = max(
            (
                Mark.of_text(text).generation
                for text in found.marks.values()
                if text and _is_of(ours, text)
            ),
            default=0,
        )
        after = self._lineage.advance(ours, max(past, ours.generation) + _PAST)
        self.mark(after, dataclasses.replace(found, reasons={}))
        for pool in found.marks:
            self._remember(pool)
        self._lineage.end_deferrals()
        self._lineage.note_stopped('')
        return after

    def mark(self, mark: Mark, found: Found) -> None:
        """Give the pools *mark*, but for those that are not this lineage's."""
        for pool, text in found.marks.items():
            if pool not in found.reasons:
                self._write(pool, text, mark)

    def _write(self, pool: str, before: str, mark: Mark) -> bool:
        """Give one pool a mark; tell whether that was done."""
        try:
            done = self._ceph.mark_lineage(pool, before, mark.as_text())
        except errors.CephUnavailable:
            raise
        except errors.CephError as exc:
            if self._unwritten.get(pool) != str(exc):
                LOG.warning(
                    'Pool %s is not marked with generation %d, which is '
                    'tried again: %s', pool, mark.generation, exc,
                )  # fmt: skip
            self._unwritten[pool] = str(exc)
            return False
        self._unwritten.pop(pool, None)
        return done

    def see(self) -> Found:
        """Return what is seen, and change nothing; as :meth:`look`."""
        newest = self._newest
        marks: dict[str, str] = {}
        reasons: dict[str, str] = {}
        for pool in self._pools:
            try:
                marks[pool] = self._ceph.lineage_mark(pool)
            except errors.PoolNotFound as exc:
                reasons[pool] = str(exc).rstrip('.')
        # What this worker has seen or made, and then the pools; after both the
        # database, which is never behind them.
        age = self._lineage.age()
        if age is None:
            return Found(None, marks, reasons, _without_a_place(marks))
        return Found(
            age.mark,
            marks,
            reasons | self._lost_marks(marks),
            _against(age.mark, marks, newest),
            age.stopped,
            age.advanced_at,
        )

    def _note(self, found: Found) -> None:
        """Take the pools that nobody has, and record what was found."""
        ours = found.database
        if ours is None:
            return
        if not found.reason:
            self._remember_newest(ours)
            self._note_pools(found, ours)
        if found.summary != found.recorded:
            self._lineage.note_stopped(found.summary)

    def _lost_marks(self, marks: Mapping[str, str]) -> dict[str, str]:
        """Return why pools are not those that this database has marked."""
        unmarked = {pool for pool, text in marks.items() if not text}
        if not unmarked:
            return {}
        lost = unmarked & self._lineage.marked_pools(self._ceph.fsid)
        return {
            pool: f'pool {pool} lost its mark, as if it had been made anew'
            for pool in sorted(lost)
        }

    def _remember_newest(self, seen: Mark) -> None:
        """Remember the newest mark of the database; others look meanwhile."""
        with self._newest_lock:
            newest = self._newest
            if (
                newest is None
                or newest.lineage != seen.lineage
                or newest.generation < seen.generation
            ):
                self._newest = seen

    def _note_pools(self, found: Found, ours: Mark) -> None:
        """Take the pools without a mark; remember those that have one."""
        for pool in found.marks.keys() - found.reasons.keys():
            if not found.marks[pool]:
                if not self._write(pool, '', ours):
                    # Others were faster, or it is full: the next look tells.
                    continue
                LOG.info('Pool %s belongs to lineage %s now', pool, ours)
                found.marks[pool] = ours.as_text()
            self._remember(pool)

    def _remember(self, pool: str) -> None:
        if pool in self._remembered:
            return
        self._remembered |= self._lineage.marked_pools(self._ceph.fsid)
        if pool not in self._remembered:
            self._lineage.note_marked_pool(self._ceph.fsid, pool)
            self._remembered.add(pool)

    def _tell(self, found: Found) -> None:
        """Say what is against destruction, once until it changes."""
        summary = found.summary
        metrics.OUTDATED.set(bool(summary))
        if summary == self._told:
            return
        if summary:
            LOG.error('%s', errors.DatabaseOutdated(reason=summary))
        else:
            LOG.info('The database is as new as the pools again')
        self._told = summary


def _is_of(ours: Mark, text: str) -> bool:
    """Tell whether a pool's mark, if any, is of the lineage of *ours*."""
    try:
        return not text or Mark.of_text(text).lineage == ours.lineage
    except ValueError:
        return False


def _against(ours: Mark, marks: Mapping[str, str], newest: Mark | None) -> str:
    """Return why nothing at all is destroyed; empty if nothing is."""
    for pool, text in marks.items():
        if text and (reason := _difference(ours, pool, text)):
            return reason
    if (
        newest is not None
        and newest.lineage == ours.lineage
        and newest.generation > ours.generation
    ):
        return (
            f'the database went back to generation {ours.generation} '
            f'from {newest.generation}'
        )
    return ''


def _without_a_place(marks: Mapping[str, str]) -> str:
    marked = sorted(pool for pool, text in marks.items() if text)
    if not marked:
        return ''
    return (
        f'the database has no mark, and pool {", ".join(marked)} has one: '
        'it is older, or "rbdcloner-manage db sync" was not run'
    )


def _difference(ours: Mark, pool: str, text: str) -> str:
    """Return how the mark of *pool* contradicts the database's."""
    try:
        theirs = Mark.of_text(text)
    except ValueError:
        return f'the mark of pool {pool} cannot be read ({text:.200})'
    if theirs.lineage != ours.lineage:
        return (
            f'pool {pool} belongs to lineage {theirs.lineage}, the database '
            f'is {ours.lineage}'
        )
    if theirs.generation > ours.generation:
        return (
            f'the database is older than pool {pool} (generation '
            f'{ours.generation}, the pool has {theirs.generation})'
        )
    if theirs == ours or theirs.generation < ours.generation:
        return ''
    return f'another copy of the database is in use (seen in pool {pool})'
