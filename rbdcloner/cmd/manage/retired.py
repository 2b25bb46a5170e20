# SPDX-License-Identifier: Apache-2.0
"""retired list: what lies in the trash, and for whom."""

import argparse
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from typing import Any

from cliff import lister

from rbdcloner.cmd.manage import columns
from rbdcloner.cmd.manage import finding
from rbdcloner.cmd.manage.app import OfManage
from rbdcloner.model import Clone
from rbdcloner.model import Filters
from rbdcloner.states import State

_FULL = (
    'id', 'uuid', 'name', 'pool', 'namespace', 'image_id', 'kind',
    'glance_image_id', 'instance_uuid', 'size_bytes', 'held_bytes',
)  # fmt: skip
_AFTER = ('reason', 'attempts', 'retry_at')


class List(OfManage, lister.Lister):
    """List what waits in the trash until nothing needs it, oldest first.

    Who needs it are the nearest living images that descend from it, directly
    or through others in the trash; with none it is destroyed soon, or the
    reason says why not. What it holds are the bytes that come back then, "?"
    before a manager has counted. The last line counts all, also those that
    are on other pages.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Add the pool and the page."""
        parser = super().get_parser(prog_name)
        parser.add_argument('--pool', default='', help='only this pool')
        finding.add_page(parser)
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[Sequence[str], Iterator[list[Any]]]:
        """Return the rows' values, read page by page."""
        filters = _in_trash(parsed_args.pool)
        found = finding.limited(
            finding.rows(self.app.lineage, filters, parsed_args.marker),
            parsed_args.limit,
            self.app.stderr,
        )
        brief = parsed_args.formatter == 'table'
        shown = self._brief() if brief else self._full()
        return tuple(shown), (
            [value(clone) for value in shown.values()] for clone in found
        )

    def afterwards(self, parsed_args: argparse.Namespace) -> int:
        """Tell persons how much all of it is."""
        if parsed_args.formatter != 'table':
            return 0
        rows = held_bytes = uncounted = 0
        for clone in finding.rows(
            self.app.lineage, _in_trash(parsed_args.pool)
        ):
            rows += 1
            held_bytes += clone.held_bytes or 0
            uncounted += clone.held_bytes is None
        text = f'In the trash: {rows}, holding {columns.size(held_bytes)}'
        self.say(f'{text}, {uncounted} not counted yet' if uncounted else text)
        return 0

    def _brief(self) -> dict[str, Callable[[Clone], Any]]:
        return {
            'ID': lambda clone: clone.id,
            'Former Name': lambda clone: clone.image.name,
            'Pool': lambda clone: clone.image.pool,
            'Kind': lambda clone: str(clone.kind),
            'Since': lambda clone: columns.moment(clone.updated_at),
            'Holds': columns.FULL['held_bytes'],
            'Needed By': self._needed_by,
            'Reason': lambda clone: clone.reason,
            'Next Attempt': lambda clone: columns.moment(clone.retry_at),
        }

    def _full(self) -> dict[str, Callable[[Clone], Any]]:
        return {
            **{name: columns.FULL[name] for name in _FULL},
            'since': lambda clone: columns.moment(clone.updated_at),
            'needed_by': self._needed_by,
            **{name: columns.FULL[name] for name in _AFTER},
        }

    def _needed_by(self, clone: Clone) -> columns.Names:
        living = finding.living_below(self.app.lineage, clone)
        return columns.Names([str(one.image) for one in living])


def _in_trash(pool: str) -> Filters:
    return Filters(pool=pool, states=(State.RETIRED,))
