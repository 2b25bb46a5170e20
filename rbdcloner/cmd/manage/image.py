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
    """List the disks that need a Glance image, or release the image.

    Glance refuses to delete an image that has children of clone format 1.
    Two options release the image from its children.

    --flatten copies the data of the image into each child. This takes time
    and space. The managers flatten a few children at a time. A child that a
    client has open waits until the client closes it, unless --forced.

    --retire copies no data. The RBD image is moved to the trash of Ceph,
    where its children still read it, and Glance finds nothing left to delete.
    The RBD image is destroyed when no child needs it and Glance has deleted
    the image. Until then "image restore" brings the RBD image back.

    Afterwards run "openstack image delete IMAGE". After --retire and until
    then, Glance lists the image but cannot deliver its data, and no disk can
    be cloned from the image.
    """

    _users = 0
    _of_format_1 = 0

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Add the image, the two ways out, and how long to wait."""
        parser = super().get_parser(prog_name)
        parser.add_argument('image', metavar='IMAGE', help='Glance image ID')
        way = parser.add_mutually_exclusive_group()
        way.add_argument(
            '--flatten',
            action='store_true',
            help='copy the data of the image into each child',
        )
        way.add_argument(
            '--retire',
            action='store_true',
            help='move the RBD image to the trash; no data is copied',
        )
        parser.add_argument(
            '--forced',
            action='store_true',
            help='with --flatten: also flatten disks that a guest has open; '
            'the client of the guest then copies the data',
        )
        finding.add_waiting(parser)
        self._parser = parser
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[Sequence[str], Iterator[list[Any]]]:
        """Return the values of the rows that need the image."""
        if parsed_args.forced and not parsed_args.flatten:
            self._parser.error('--forced requires --flatten')
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
                f'No recorded disk needs Glance image {image_id}. Glance can '
                'delete the image.'
            )
        needed = f'{_need(self._users)} Glance image {image_id}.'
        for clone in self.app.image_release.images(image_id):
            if clone.state is State.RETIRED:
                return (
                    f'{needed} The RBD image is in the trash. If Glance still '
                    f'lists the image, {_next(image_id)}'
                )
            if clone.state is State.DELETING:
                return f'{needed} The RBD image is being moved to the trash.'
        if self._of_format_1:
            return (
                f'{needed} Glance refuses to delete the image, because '
                f'{_have(self._of_format_1)} clone format 1. Use --retire, '
                'which copies no data, or --flatten; see --help.'
            )
        return (
            f'{needed} Glance can delete the image all the same, because no '
            'disk has clone format 1.'
        )

    def _flatten(self, parsed_args: argparse.Namespace) -> int:
        queued = self.app.image_release.flatten(
            parsed_args.image, parsed_args.forced
        )
        self.say(f'{_disks(len(queued))} will be flattened.')
        if parsed_args.no_wait:
            self.say(
                'To see the progress, run "rbdcloner-manage flatten list".'
            )
            return 0
        flattens = progress.Flattens(self.app.lineage, queued)
        if not self.watch(flattens.look, parsed_args.timeout):
            return 1
        if any(self.app.image_release.users(parsed_args.image)):
            self.say(
                'Other disks were cloned from the image meanwhile. Run the '
                'command again.'
            )
            return 1
        self.say(
            'No disk needs the image any more. To delete it, '
            f'{_next(parsed_args.image)}'
        )
        return 0

    def _retire(self, parsed_args: argparse.Namespace) -> int:
        retiring = self.app.image_release.retire(parsed_args.image)
        if not retiring:
            self.say(self._outlook(parsed_args.image))
            return 0
        named = ', '.join(str(clone.image) for clone in retiring)
        self.say(f'{named} will be moved to the trash.')
        if parsed_args.no_wait:
            self.say(
                'To see the image in the trash, run "rbdcloner-manage retired '
                'list".'
            )
            return 0
        moves = progress.Moves(self.app.lineage, retiring, _GONE_FROM_ITS_NAME)
        if not self.watch(moves.look, parsed_args.timeout):
            return 1
        self.say(
            'Glance can no longer deliver the data of the image. To delete '
            f'the image, {_next(parsed_args.image)}'
        )
        return 0


class Restore(OfManage, command.Command):
    """Move an image out of the trash, and give it its name back.

    A Glance image that "image release --retire" moved to the trash is named
    by its Glance image ID. Any other image or deleted disk in "retired list"
    is named by the UUID of its row or by its former name.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Add what names the image, and how long to wait."""
        parser = super().get_parser(prog_name)
        parser.add_argument(
            'image',
            metavar='IMAGE|UUID|NAME',
            help='Glance image ID, UUID of a row, or former name',
        )
        parser.add_argument(
            '--pool',
            default='',
            help='pool of the image; needed if several pools had the name',
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
                f'Nothing is recorded of {parsed_args.image}. To see what can '
                'be restored, run "rbdcloner-manage retired list".'
            )
            return NOT_FOUND
        restoring = list(map(self.app.image_release.restore, found))
        named = ', '.join(str(clone.image) for clone in restoring)
        self.say(f'{named} will be moved out of the trash.')
        if parsed_args.no_wait:
            return 0
        moves = progress.Moves(self.app.lineage, restoring, (State.READY,))
        return 0 if self.watch(moves.look, parsed_args.timeout) else 1


def _disks(number: int) -> str:
    return '1 disk' if number == 1 else f'{number} disks'


def _have(number: int) -> str:
    return f'{_disks(number)} {"has" if number == 1 else "have"}'


def _need(number: int) -> str:
    return f'{_disks(number)} {"needs" if number == 1 else "need"}'


def _unknown(image: str) -> str:
    return (
        f'Nothing is recorded of Glance image {image}. Check the image ID '
        'with "openstack image list". If the ID is right, no disk needs the '
        'image, and Glance can delete it.'
    )


def _next(image_id: str) -> str:
    return f'run "openstack image delete {image_id}".'
