# SPDX-License-Identifier: Apache-2.0
"""db sync, db version: the revision of the database's schema."""

import argparse

from cliff import command

from rbdcloner.cmd.manage.app import OfManage
from rbdcloner.db import migration


class Sync(OfManage, command.Command):
    """Bring the lineage database to the revision that this release needs.

    Repeated, it changes nothing. Managers of the release before go on
    working on the newer revision.
    """

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        """Migrate, and say from where to where."""
        before = migration.current(self.app.engine)
        migration.upgrade(self.app.engine)
        after = migration.current(self.app.engine)
        if before == after:
            line = f'The lineage database is at {after} already.'
        else:
            line = (
                f'The lineage database is at {after} now ({before or "new"}).'
            )
        self.app.stdout.write(f'{line}\n')


class Version(OfManage, command.Command):
    """Print the database's revision and the one that this release needs."""

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        """Print both, also where there is no schema."""
        current = migration.current(self.app.engine)
        self.app.stdout.write(f'current: {current or "none"}\n')
        self.app.stdout.write(f'needed: {migration.needed()}\n')
