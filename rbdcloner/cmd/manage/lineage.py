# SPDX-License-Identifier: Apache-2.0
"""lineage list, show, tree: who was cloned from whom."""

import argparse
from collections.abc import Iterator
from collections.abc import Sequence
import itertools
from typing import Any

from cliff import command
from cliff import lister
from cliff import show
from oslo_utils import uuidutils

from rbdcloner import errors
from rbdcloner.cmd.manage import columns
from rbdcloner.cmd.manage import tree
from rbdcloner.cmd.manage.app import OfManage
from rbdcloner.db.lineage import Lineage
from rbdcloner.model import Clone
from rbdcloner.model import Filters
from rbdcloner.states import LIVE
from rbdcloner.states import State

_ROWS_AT_ONCE = 500
_LIMIT = 100


class List(OfManage, lister.Lister):
    """List disks, oldest first; those that are gone only with --all.

    A table shows what a person reads at once; the other formats have every
    recorded field, sizes in bytes and whole ids. Times are UTC.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Add the filters and the page."""
        parser = super().get_parser(prog_name)
        for option, field, metavar in (
            ('--instance', 'instance_uuid', 'UUID'),
            ('--image', 'glance_image_id', 'GLANCE_IMAGE'),
            ('--project', 'project_id', 'PROJECT'),
            ('--host', 'host', 'HOST'),
            ('--pool', 'pool', 'POOL'),
            ('--name', 'name', 'NAME'),
        ):
            parser.add_argument(
                option, dest=field, default='', metavar=metavar
            )
        _add_states(parser)
        parser.add_argument(
            '--limit',
            type=_count,
            default=_LIMIT,
            metavar='ROWS',
            help=f'at most so many, 0: all; default: {_LIMIT}',
        )
        parser.add_argument(
            '--marker',
            type=_count,
            default=0,
            metavar='ID',
            help='only rows after the one with this ID',
        )
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[Sequence[str], Iterator[list[Any]]]:
        """Return the rows' values, read page by page."""
        filters = Filters(
            instance_uuid=parsed_args.instance_uuid,
            glance_image_id=parsed_args.glance_image_id,
            project_id=parsed_args.project_id,
            host=parsed_args.host,
            pool=parsed_args.pool,
            name=parsed_args.name,
            states=_states(parsed_args),
        )
        found = _rows(self.app.lineage, filters, parsed_args.marker)
        brief = parsed_args.formatter == 'table'
        shown = columns.BRIEF if brief else columns.FULL
        return tuple(shown), (
            [value(clone) for value in shown.values()]
            for clone in self._limited(found, parsed_args.limit)
        )

    def _limited(self, found: Iterator[Clone], limit: int) -> Iterator[Clone]:
        """Yield at most *limit* rows; say how to have those after them."""
        if not limit:
            yield from found
            return
        last = 0
        for clone in itertools.islice(found, limit):
            last = clone.id
            yield clone
        if last and next(found, None):
            self.app.stderr.write(f'There are more: --marker {last}\n')


class Show(OfManage, show.ShowOne):
    """Show all that is recorded of a disk and of its parent.

    A name means the disk that has it now, else the last that had it.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Add what names a disk."""
        parser = super().get_parser(prog_name)
        parser.add_argument(
            'disk', metavar='NAME|UUID', help="the disk's name or row's uuid"
        )
        parser.add_argument(
            '--pool', default='', help='the pool; needed if several have it'
        )
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[Sequence[str], list[Any]]:
        """Return each field's name and value."""
        clone = _find(self.app.lineage, parsed_args.disk, parsed_args.pool)
        return tuple(columns.FULL), [
            value(clone) for value in columns.FULL.values()
        ]


class Tree(OfManage, command.Command):
    """Draw parents with their children.

    A child that is itself a parent has its children below it. Only what
    lives is drawn, unless --all or --state says otherwise.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Add the filters and the format."""
        parser = super().get_parser(prog_name)
        parser.add_argument(
            '--image',
            default='',
            metavar='GLANCE_IMAGE',
            help='only parents that are snapshots of this image',
        )
        parser.add_argument(
            '--instance',
            default='',
            metavar='UUID',
            help='only the disks of this instance, and their parents',
        )
        _add_states(parser)
        parser.add_argument(
            '-f', '--format', choices=('tree', 'json'), default='tree'
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        """Write the trees while they are read."""
        forest = tree.Forest(
            self.app.lineage, parsed_args.instance, _states(parsed_args)
        )
        roots = forest.roots(parsed_args.image)
        if parsed_args.format == 'json':
            written = tree.as_json(roots)
        else:
            lines = tree.as_lines(roots, self.app.stdout.encoding or 'ascii')
            written = (f'{line}\n' for line in lines)
        for text in written:
            self.app.stdout.write(text)


def _add_states(parser: argparse.ArgumentParser) -> None:
    group = parser.add_mutually_exclusive_group()
    group.add_argument(
        '--state',
        action='append',
        default=[],
        choices=tuple(map(str, State)),
        help='can be repeated; default: all but those that are gone',
    )
    group.add_argument('--all', action='store_true', help='also what is gone')


def _states(parsed_args: argparse.Namespace) -> tuple[State, ...]:
    if parsed_args.all:
        return ()
    return tuple(map(State, parsed_args.state)) or tuple(sorted(LIVE))


def _count(text: str) -> int:
    value = int(text)
    if not 0 <= value < 2**63:
        raise ValueError(text)
    return value


def _rows(
    lineage: Lineage, filters: Filters, marker: int = 0
) -> Iterator[Clone]:
    """Yield every row that *filters* leave, by id, read page by page."""
    while page := lineage.page(filters, marker, _ROWS_AT_ONCE):
        yield from page
        marker = page[-1].id


def _find(lineage: Lineage, disk: str, pool: str) -> Clone:
    """Return the disk of a name, else the one of a row's uuid.

    :raises DiskNotFound: there is neither.
    :raises InvalidArgument: several pools have the name.
    """
    found: dict[tuple[str, str, str], Clone] = {}
    for clone in _rows(lineage, Filters(name=disk, pool=pool)):
        # By id, so that a name's live row, its newest, comes last.
        image = clone.image
        found[image.fsid, image.pool, image.namespace] = clone
    living = [clone for clone in found.values() if clone.state in LIVE]
    chosen = living or list(found.values())
    if len(chosen) > 1:
        places = ', '.join(str(clone.image) for clone in chosen)
        raise errors.InvalidArgument(
            argument=disk, reason=f'several have it ({places}); say --pool'
        )
    if not chosen and uuidutils.is_uuid_like(disk):
        chosen = lineage.page(Filters(pool=pool, uuid=disk.lower()))
    if not chosen:
        raise errors.DiskNotFound(name=disk, pool=pool or '(any)')
    return chosen[0]
