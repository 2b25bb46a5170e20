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
    """List recorded disks and images, oldest first.

    Deleted and failed rows are listed only with --all or --state. A table
    shows the main columns; the other formats have every recorded field, with
    sizes in bytes and whole IDs. Times are UTC.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Add the filters and the page."""
        parser = super().get_parser(prog_name)
        for option, field, metavar, noun in (
            ('--instance', 'instance_uuid', 'UUID', 'instance'),
            ('--image', 'glance_image_id', 'GLANCE_IMAGE', 'Glance image'),
            ('--project', 'project_id', 'PROJECT', 'project'),
            ('--host', 'host', 'HOST', 'compute host'),
            ('--pool', 'pool', 'POOL', 'pool'),
            ('--name', 'name', 'NAME', 'name'),
        ):
            parser.add_argument(
                option,
                dest=field,
                default='',
                metavar=metavar,
                help=f'list only rows of this {noun}',
            )
        _add_states(parser)
        parser.add_argument(
            '--kind',
            type=Kind,
            choices=tuple(Kind),
            help='list only rows of this kind',
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

    A name stands for the disk that has the name now, else for the last disk
    that had it.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Add what names a disk."""
        parser = super().get_parser(prog_name)
        parser.add_argument(
            'disk',
            metavar='NAME|UUID',
            help='name of the disk, or UUID of its row',
        )
        parser.add_argument(
            '--pool',
            default='',
            help='pool of the disk; needed if several pools have the name',
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
    """Draw parents with their children as trees.

    A child that is itself a parent has its children below it. Deleted and
    failed rows are drawn only with --all or --state; images that wait in the
    trash for their children are drawn always. A flattened child is drawn
    below its former parent only with --all.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Add the filters and the format."""
        parser = super().get_parser(prog_name)
        parser.add_argument(
            '--image',
            default='',
            metavar='GLANCE_IMAGE',
            help='draw only parents that are snapshots of this Glance image',
        )
        parser.add_argument(
            '--instance',
            default='',
            metavar='UUID',
            help='draw only disks of this instance, and their parents',
        )
        _add_states(parser)
        parser.add_argument(
            '-f',
            '--format',
            choices=('tree', 'json'),
            default='tree',
            help='output format; default: tree',
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
        help='only rows in this state; can be repeated. Default: all states '
        'but deleted and failed',
    )
    group.add_argument(
        '--all',
        action='store_true',
        help='also rows that are deleted or failed',
    )


def _states(parsed_args: argparse.Namespace) -> tuple[State, ...]:
    if parsed_args.all:
        return ()
    return tuple(map(State, parsed_args.state)) or _NOT_GONE
