# SPDX-License-Identifier: Apache-2.0
"""flatten list, start, cancel: which children get their parents' data."""

import argparse
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from typing import Any

from cliff import command

from rbdcloner.cmd.manage import columns
from rbdcloner.cmd.manage import finding
from rbdcloner.cmd.manage import listing
from rbdcloner.cmd.manage import progress
from rbdcloner.cmd.manage.app import OfManage
from rbdcloner.db.lineage import Lineage
from rbdcloner.model import Flatten
from rbdcloner.model import FlattenReason
from rbdcloner.states import FlattenState

_ROWS_AT_ONCE = 500

_BRIEF: dict[str, Callable[[Flatten], Any]] = {
    'ID': lambda flatten: flatten.id,
    'Image': lambda flatten: str(flatten.clone.image),
    'Why': lambda flatten: str(flatten.why),
    'State': lambda flatten: str(flatten.state),
    'Progress': lambda flatten: f'{progress.percent(flatten)} %',
    'Forced': lambda flatten: flatten.forced,
    'Run By': lambda flatten: _runner(flatten),
    'Reason': lambda flatten: flatten.reason,
    'Next Attempt': lambda flatten: columns.moment(flatten.retry_at),
}

_FULL: dict[str, Callable[[Flatten], Any]] = {
    'id': lambda flatten: flatten.id,
    'uuid': lambda flatten: flatten.clone.uuid,
    'name': lambda flatten: flatten.clone.image.name,
    'pool': lambda flatten: flatten.clone.image.pool,
    'namespace': lambda flatten: flatten.clone.image.namespace,
    'image_id': lambda flatten: flatten.clone.image.id,
    'why': lambda flatten: str(flatten.why),
    'state': lambda flatten: str(flatten.state),
    'forced': lambda flatten: flatten.forced,
    'percent': progress.percent,
    'done_objects': lambda flatten: flatten.done_objects,
    'total_objects': lambda flatten: flatten.total_objects,
    'slot': lambda flatten: flatten.slot or '',
    'run_by': lambda flatten: _runner(flatten),
    'reason': lambda flatten: flatten.reason,
    'attempts': lambda flatten: flatten.attempts,
    'retry_at': lambda flatten: columns.moment(flatten.retry_at),
    'created_at': lambda flatten: columns.moment(flatten.created_at),
    'updated_at': lambda flatten: columns.moment(flatten.updated_at),
}


class List(listing.WorkList[Flatten]):
    """List what is, or waits to be, flattened; with --all what was, too."""

    brief = _BRIEF
    full = _FULL
    nothing = 'Nothing is being flattened, nor waits for it.'

    def rows(self, over: bool, marker: int) -> Iterator[Flatten]:
        """Yield the rows, read page by page."""
        return _rows(
            self.app.lineage, () if over else progress.UNFINISHED, marker
        )


class Start(OfManage, command.Command):
    """Have an image flattened: it gets its parent's data as its own.

    The managers do it, a few at a time in the whole cluster. What somebody
    has open waits until it is closed.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Add what names a disk."""
        parser = super().get_parser(prog_name)
        parser.add_argument(
            'disk', metavar='DISK|UUID', help="the disk's name or row's uuid"
        )
        parser.add_argument(
            '--pool', default='', help='the pool; needed if several have it'
        )
        parser.add_argument(
            '--forced',
            action='store_true',
            help='also while a guest has it open, whose client then copies',
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> int:
        """Queue it; one that is queued already keeps its place."""
        clone = finding.one(
            self.app.lineage, parsed_args.disk, parsed_args.pool
        )
        if not clone.attached:
            self.say(
                f'{clone.image} is {clone.state} and has no parent: there is '
                'nothing to flatten.'
            )
            return 1
        flatten = self.app.lineage.want_flatten(
            clone, FlattenReason.ASKED, parsed_args.forced
        )
        self.app.stdout.write(
            f'Flatten {flatten.id} of {clone.image} is {flatten.state}.\n'
        )
        return 0


class Cancel(OfManage, command.Command):
    """Let an image keep its parent; what was copied stays copied."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Add the flatten's id."""
        parser = super().get_parser(prog_name)
        parser.add_argument(
            'id', metavar='ID', type=finding.count, help='of "flatten list"'
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> int:
        """Cancel it, unless it is over."""
        flatten = self.app.lineage.cancel_flatten(
            parsed_args.id, 'an administrator cancelled it'
        )
        self.app.stdout.write(
            f'Flatten {flatten.id} of {flatten.clone.image} is '
            f'{flatten.state}.\n'
        )
        return int(flatten.state is not FlattenState.CANCELLED)


def _rows(
    lineage: Lineage, states: Sequence[FlattenState], marker: int
) -> Iterator[Flatten]:
    while page := lineage.flattens(states, marker=marker, limit=_ROWS_AT_ONCE):
        yield from page
        marker = page[-1].id


def _runner(flatten: Flatten) -> str:
    running = flatten.state is FlattenState.RUNNING
    return flatten.owner if running else ''
