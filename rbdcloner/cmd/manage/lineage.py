# SPDX-License-Identifier: Apache-2.0
"""lineage list, show, tree: who was cloned from whom."""

import argparse
from collections.abc import Iterator
from collections.abc import Sequence
from typing import Any

from cliff import command
from cliff import lister
from cliff import show

from rbdcloner.cmd.manage import columns
from rbdcloner.cmd.manage import finding
from rbdcloner.cmd.manage import tree
from rbdcloner.cmd.manage.app import OfManage
from rbdcloner.model import Filters
from rbdcloner.model import Kind
from rbdcloner.states import FINAL
from rbdcloner.states import State

_NOT_GONE = tuple(state for state in State if state not in FINAL)


class List(OfManage, lister.Lister):
    """List images, oldest first; those that are gone only with --all.

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
            '--kind', type=Kind, choices=tuple(Kind), help='what it is for'
        )
        finding.add_page(parser)
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
            kind=parsed_args.kind,
            states=_states(parsed_args),
        )
        found = finding.limited(
            finding.rows(self.app.lineage, filters, parsed_args.marker),
            parsed_args.limit,
            self.app.stderr,
        )
        brief = parsed_args.formatter == 'table'
        shown = columns.BRIEF if brief else columns.FULL
        return tuple(shown), (
            [value(clone) for value in shown.values()] for clone in found
        )


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
        clone = finding.one(
            self.app.lineage, parsed_args.disk, parsed_args.pool
        )
        return tuple(columns.FULL), [
            value(clone) for value in columns.FULL.values()
        ]


class Tree(OfManage, command.Command):
    """Draw parents with their children.

    A child that is itself a parent has its children below it. What is gone
    is drawn only with --all or --state; what waits in the trash for its
    children is not gone. A child that was flattened needs its parent no
    more: it stands below it only with --all.
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
    return tuple(map(State, parsed_args.state)) or _NOT_GONE
