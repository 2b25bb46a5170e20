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
from rbdcloner.cmd.manage.app import OfManage
from rbdcloner.model import CloneFormat
from rbdcloner.restoration.findings import Finding
from rbdcloner.restoration.findings import Outcome
from rbdcloner.restoration.reconciliation import Reconciliation
from rbdcloner.safety.generation import Found
from rbdcloner.safety.generation import Generation
from rbdcloner.worker import wiring

#: A manager has advanced the database that long before a backup, at most.
_BACKED_UP_WITHIN = datetime.timedelta(minutes=2)

_TELL_EVERY = 100
_COLUMNS = ('Image', 'Result', 'Reason')


class Restored(OfManage, lister.Lister):
    """Reconcile a database that was restored from a backup with Ceph.

    Managers that find the database older than the pools destroy nothing until
    this command has succeeded. Images that rbdcloner made after the backup
    are adopted, by their tags and parents. A row in progress becomes ready if
    its image exists, and ends if its image does not. Images that cannot be
    explained are listed and left as they are. In Ceph only the mark of each
    pool is changed.

    Managers may run meanwhile. The command uses the configuration file and
    the Ceph key of the managers. A second run resumes an interrupted one.
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
            help='list what would be done, and change nothing',
        )
        parser.add_argument(
            '--take',
            action='append',
            default=[],
            metavar='POOL',
            help='assign this pool to the database, although the pool was '
            'replaced or belongs to another database; can be repeated',
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
        marked = wiring.marked_pools(conf)
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
            self.say(f'{counted}. Run the command again.')
            return 1
        # The managers may have worked on, and others have come.
        self._found = self._generation.see()
        self._check_pools(parsed_args.take)
        mark = self._generation.renew(self._found)
        self.say(f'{counted}; the database is at generation {mark.generation}')
        return 0

    def _open(self) -> Driver:
        """Return a driver that is connected."""
        driver = wiring.ceph(self.app.conf)
        driver.connect()
        return driver

    def _check_pools(self, taken: Sequence[str]) -> None:
        strangers = self._generation.strangers(self._found, taken)
        if strangers:
            raise errors.ConfigurationError(
                problem='Pools belong to another database: '
                f'{"; ".join(strangers)}',
                remedy='Correct "connection" in [database] or the pools in '
                '[ceph], or add --take POOL to assign a pool to this database',
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
            self.say(f'{done} images processed')
        return (str(finding.image), str(finding.outcome), finding.why)
