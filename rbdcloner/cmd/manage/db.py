# SPDX-License-Identifier: Apache-2.0
"""db sync, db version: the revision of the database's schema."""

import argparse

from cliff import command

from rbdcloner.cmd.manage.app import OfManage
from rbdcloner.db.core import upgrade


class Sync(OfManage, command.Command):
    """Migrate the lineage database to the revision that this release needs.

    A second run changes nothing. Managers of the previous release continue to
    work on the newer revision.
    """

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        """Migrate, and say from where to where."""
        before = upgrade.current(self.app.engine)
        upgrade.upgrade(self.app.engine)
        after = upgrade.current(self.app.engine)
        if before == after:
            line = f'The lineage database is already at revision {after}.'
        else:
            line = (
                f'The lineage database is now at revision {after} (before: '
                f'{before or "none"}).'
            )
        self.app.stdout.write(f'{line}\n')


class Version(OfManage, command.Command):
    """Print the revision of the database and the one that is needed."""

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        """Print both, also where there is no schema."""
        current = upgrade.current(self.app.engine)
        self.app.stdout.write(f'current: {current or "none"}\n')
        self.app.stdout.write(f'needed: {upgrade.needed()}\n')
