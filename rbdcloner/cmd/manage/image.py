# SPDX-License-Identifier: Apache-2.0
"""image release, image restore: so that Glance can delete what is in use."""

import argparse
from collections.abc import Iterator
from collections.abc import Sequence
from typing import Any

from cliff import command
from cliff import lister

from rbdcloner import errors
from rbdcloner.cmd.manage import columns
from rbdcloner.cmd.manage import finding
from rbdcloner.cmd.manage import progress
from rbdcloner.cmd.manage.app import NOT_FOUND
from rbdcloner.cmd.manage.app import OfManage
from rbdcloner.model import Clone
from rbdcloner.model import CloneFormat
from rbdcloner.states import FINAL
from rbdcloner.states import State

_GONE_FROM_ITS_NAME = frozenset({State.RETIRED}) | FINAL

_BRIEF = {
    name: columns.BRIEF[name]
    for name in ('Disk', 'State', 'Kind', 'Instance', 'Size')
}


class Release(OfManage, lister.Lister):
    """List who needs a Glance image; with an option, let Glance delete it.

    Glance refuses to delete an image that has children of clone format 1.
    There are two ways out.

    --flatten copies the image's data into each child, so that none needs the
    image any more. It takes time and space. The managers flatten a few
    children at a time; one that somebody has open waits until it is closed,
    unless --forced.

    --retire copies nothing: the RBD image is moved to Ceph's trash, by its
    id, where its children go on reading it, and Glance finds nothing left to
    delete. It is destroyed when no child needs it and Glance has deleted it.
    "image restore" brings it back, as long as it is there.

    Afterwards run "openstack image delete IMAGE". After --retire Glance lists
    the image until then, but cannot hand out its data, and nothing can be
    cloned from it.
    """

    _users = 0
    _of_format_1 = 0

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Add the image, the two ways out, and how long to wait."""
        parser = super().get_parser(prog_name)
        parser.add_argument('image', metavar='IMAGE', help="Glance's id of it")
        way = parser.add_mutually_exclusive_group()
        way.add_argument(
            '--flatten',
            action='store_true',
            help='copy the data into each child',
        )
        way.add_argument(
            '--retire',
            action='store_true',
            help='move the image to the trash; no data is copied',
        )
        parser.add_argument(
            '--forced',
            action='store_true',
            help='with --flatten: also disks that a guest has open, whose '
            'client then does the copying',
        )
        finding.add_waiting(parser)
        self._parser = parser
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[Sequence[str], Iterator[list[Any]]]:
        """Return the values of the rows that need the image."""
        if parsed_args.forced and not parsed_args.flatten:
            self._parser.error('--forced goes with --flatten')
        shown = columns.FULL
        if parsed_args.formatter == 'table':
            shown = _BRIEF
        users = self.app.image_release.users(parsed_args.image)
        return tuple(shown), (
            [value(clone) for value in shown.values()]
            for clone in self._counted(users)
        )

    def afterwards(self, parsed_args: argparse.Namespace) -> int:
        """Let the image go, as asked; else say whether Glance can do it."""
        if self._users and parsed_args.flatten:
            return self._flatten(parsed_args)
        if self._users and parsed_args.retire:
            return self._retire(parsed_args)
        known = self._users or self.app.image_release.knows(parsed_args.image)
        asked = parsed_args.flatten or parsed_args.retire
        if not known:
            self.say(_unknown(parsed_args.image))
        elif asked or parsed_args.formatter == 'table':
            self.say(self._outlook(parsed_args.image))
        return 0 if known else NOT_FOUND

    def _counted(self, users: Iterator[Clone]) -> Iterator[Clone]:
        for clone in users:
            self._users += 1
            self._of_format_1 += clone.clone_format is CloneFormat.V1
            yield clone

    def _outlook(self, image_id: str) -> str:
        if not self._users:
            return (
                f'Nothing that is recorded needs Glance image {image_id}: '
                'Glance can delete it.'
            )
        needed = f'{_need(self._users)} Glance image {image_id}.'
        for clone in self.app.image_release.images(image_id):
            if clone.state is State.RETIRED:
                return (
                    f'{needed} It is in the trash: if Glance still lists it, '
                    f'{_next(image_id)}'
                )
            if clone.state is State.DELETING:
                return f'{needed} It is on its way to the trash.'
        if self._of_format_1:
            return (
                f'{needed} Glance refuses to delete it: '
                f'{_are(self._of_format_1)} of clone format 1. Say --retire, '
                'which copies nothing, or --flatten; see --help.'
            )
        return (
            f'{needed} Glance can delete it all the same: '
            'none is of clone format 1.'
        )

    def _flatten(self, parsed_args: argparse.Namespace) -> int:
        queued = self.app.image_release.flatten(
            parsed_args.image, parsed_args.forced
        )
        self.say(f'{_are(len(queued))} to be flattened.')
        if parsed_args.no_wait:
            self.say('See "rbdcloner-manage flatten list".')
            return 0
        flattens = progress.Flattens(self.app.lineage, queued)
        if not self.watch(flattens.look, parsed_args.timeout):
            return 1
        if any(self.app.image_release.users(parsed_args.image)):
            self.say('Others were cloned from it meanwhile: run this again.')
            return 1
        self.say(f'Nothing needs it any more: {_next(parsed_args.image)}')
        return 0

    def _retire(self, parsed_args: argparse.Namespace) -> int:
        retiring = self.app.image_release.retire(parsed_args.image)
        if not retiring:
            self.say(self._outlook(parsed_args.image))
            return 0
        named = ', '.join(str(clone.image) for clone in retiring)
        self.say(f'{named} is to be moved to the trash.')
        if parsed_args.no_wait:
            self.say('See "rbdcloner-manage retired list".')
            return 0
        moves = progress.Moves(self.app.lineage, retiring, _GONE_FROM_ITS_NAME)
        if not self.watch(moves.look, parsed_args.timeout):
            return 1
        self.say(
            f'Glance cannot hand out its data any more: '
            f'{_next(parsed_args.image)}'
        )
        return 0


class Restore(OfManage, command.Command):
    """Move an image out of the trash, back to its name.

    A Glance image that "image release --retire" put there, by its id; or any
    image or deleted disk that is still there ("retired list" tells), by its
    row's uuid or the name that it had.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Add what names the image, and how long to wait."""
        parser = super().get_parser(prog_name)
        parser.add_argument(
            'image',
            metavar='IMAGE|UUID|NAME',
            help="Glance's id, a row's uuid, or the former name",
        )
        parser.add_argument(
            '--pool', default='', help='the pool; needed if several had it'
        )
        finding.add_waiting(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> int:
        """Ask for it, and wait until it is there."""
        try:
            found = finding.retired(
                self.app.lineage, parsed_args.image, parsed_args.pool
            )
        except errors.DiskNotFound:
            self.say(
                f'Nothing is recorded of {parsed_args.image}; "retired list" '
                'tells what can be restored.'
            )
            return NOT_FOUND
        restoring = list(map(self.app.image_release.restore, found))
        named = ', '.join(str(clone.image) for clone in restoring)
        self.say(f'{named} is to be moved out of the trash.')
        if parsed_args.no_wait:
            return 0
        moves = progress.Moves(self.app.lineage, restoring, (State.READY,))
        return 0 if self.watch(moves.look, parsed_args.timeout) else 1


def _are(number: int) -> str:
    return '1 is' if number == 1 else f'{number} are'


def _need(number: int) -> str:
    return '1 needs' if number == 1 else f'{number} need'


def _unknown(image: str) -> str:
    return (
        f'Nothing is recorded of a Glance image {image}. Is that its id? See '
        '"openstack image list". If it is, nothing needs it: Glance can '
        'delete it.'
    )


def _next(image_id: str) -> str:
    return f'run "openstack image delete {image_id}" now.'
