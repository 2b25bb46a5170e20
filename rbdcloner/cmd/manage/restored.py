# SPDX-License-Identifier: Apache-2.0
"""db restored: a database from a backup is brought up to the cluster."""

import argparse
import collections
from collections.abc import Iterator
from collections.abc import Sequence
import datetime
from typing import Any

from cliff import lister

from rbdcloner import errors
from rbdcloner.ceph.driver import Driver
from rbdcloner.cloning.findings import Finding
from rbdcloner.cloning.findings import Outcome
from rbdcloner.cloning.generation import Found
from rbdcloner.cloning.generation import Generation
from rbdcloner.cloning.reconciliation import Reconciliation
from rbdcloner.cmd import compose
from rbdcloner.cmd.manage.app import OfManage
from rbdcloner.model import CloneFormat

#: A manager has advanced the database that long before a backup, at most.
_BACKED_UP_WITHIN = datetime.timedelta(minutes=2)

_TELL_EVERY = 100
_COLUMNS = ('Image', 'Result', 'Why')


class Restored(OfManage, lister.Lister):
    """Bring a database that was restored from a backup up to the cluster.

    Managers that find the database older than the pools destroy nothing,
    until this command has run to its end. By the tags and parents of the
    images it adopts what the service made since the backup; a row in progress
    whose image is there is ready; one whose image is gone ends. What cannot
    be explained is listed, and left as it is. In Ceph nothing is changed but
    the mark of each pool.

    Managers may run meanwhile. It works in Ceph with the managers'
    configuration file and key. Interrupted or repeated, it goes on with what
    is left.
    """

    _found: Found
    _generation: Generation
    _counts: collections.Counter[Outcome]

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Add the rehearsal, and pools that are taken."""
        parser = super().get_parser(prog_name)
        parser.add_argument(
            '--dry-run',
            action='store_true',
            help='tell what would be done, and change nothing',
        )
        parser.add_argument(
            '--take',
            action='append',
            default=[],
            metavar='POOL',
            help='give this pool to the database, although it was made anew '
            'or belongs to another database; can be repeated',
        )
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[Sequence[str], Iterator[tuple[Any, ...]]]:
        """Reconcile pool after pool; what came of each image.

        :raises ConfigurationError: a pool is another database's, or another.
        """
        conf, rows = self.app.conf, self.app.lineage
        driver = self._open()
        self._counts = collections.Counter()
        marked = compose.marked_pools(conf)
        self._generation = Generation(driver, rows, marked)
        self._found = self._generation.see()
        self._check_pools(parsed_args.take)
        work = Reconciliation(
            driver,
            rows,
            CloneFormat(conf.ceph.clone_format),
            marked - set(parsed_args.take),
            self._found.advanced_at + _BACKED_UP_WITHIN,
            conf.safety.undo_delay,
            parsed_args.dry_run,
        )
        pools = sorted(marked | set(conf.ceph.image_pools))
        return _COLUMNS, self._each(work, pools)

    def afterwards(self, parsed_args: argparse.Namespace) -> int:
        """Advance the generation, if nothing failed; tell what was done."""
        counted = ', '.join(
            f'{self._counts[outcome]} {outcome}' for outcome in Outcome
        )
        if parsed_args.dry_run:
            self.say(f'{counted}; nothing was changed')
            return 0
        if self._counts[Outcome.FAILED]:
            self.say(f'{counted}: run the command again')
            return 1
        # The managers may have worked on, and others have come.
        self._found = self._generation.see()
        self._check_pools(parsed_args.take)
        mark = self._generation.renew(self._found)
        self.say(f'{counted}; the database is at generation {mark.generation}')
        return 0

    def _open(self) -> Driver:
        """Return a driver that is connected."""
        driver = compose.ceph(self.app.conf)
        driver.connect()
        return driver

    def _check_pools(self, taken: Sequence[str]) -> None:
        if self._found.database is None:
            raise errors.ConfigurationError(
                problem='The database has no place for its generation',
                remedy='Run "rbdcloner-manage db sync"',
            )
        strangers = self._generation.strangers(self._found, taken)
        if strangers:
            raise errors.ConfigurationError(
                problem=f'Not the pools of this database: '
                f'{"; ".join(strangers)}',
                remedy='Correct "connection" in [database] or [ceph], or say '
                '--take POOL to give it to this database',
            )

    def _each(
        self, work: Reconciliation, pools: Sequence[str]
    ) -> Iterator[tuple[Any, ...]]:
        for pool in pools:
            self.say(f'Pool {pool}')
            for finding in work.look_at(pool):
                yield self._row(finding)

    def _row(self, finding: Finding) -> tuple[Any, ...]:
        self._counts[finding.outcome] += 1
        done = self._counts.total()
        if done % _TELL_EVERY == 0:
            self.say(f'{done} images so far')
        return (str(finding.image), str(finding.outcome), finding.why)
