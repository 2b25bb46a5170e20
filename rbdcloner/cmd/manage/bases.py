# SPDX-License-Identifier: Apache-2.0
"""base list, show, import, drop: images imported once, to clone disks from."""

import argparse
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from typing import Any

from cliff import command
from cliff import show

from rbdcloner import errors
from rbdcloner.cmd import compose
from rbdcloner.cmd.manage import columns
from rbdcloner.cmd.manage import finding
from rbdcloner.cmd.manage import listing
from rbdcloner.cmd.manage import progress
from rbdcloner.cmd.manage.app import OfManage
from rbdcloner.db.lineage import Lineage
from rbdcloner.model import Base
from rbdcloner.states import LIVE_BASES
from rbdcloner.states import BaseState

_ROWS_AT_ONCE = 500

_BRIEF: dict[str, Callable[[Base], Any]] = {
    'ID': lambda base: base.id,
    'Image': lambda base: base.glance_image_id,
    'State': lambda base: str(base.state),
    'Way': lambda base: str(base.way),
    'Progress': lambda base: f'{progress.percent_imported(base)} %',
    'Done': lambda base: columns.Size(base.done_bytes),
    'Total': lambda base: columns.Size(base.total_bytes),
    'Run By': lambda base: _runner(base),
    'Reason': lambda base: base.reason,
    'Next Attempt': lambda base: columns.moment(base.retry_at),
}

_FULL: dict[str, Callable[[Base], Any]] = {
    'id': lambda base: base.id,
    'uuid': lambda base: base.uuid,
    'fsid': lambda base: base.fsid,
    'glance_image_id': lambda base: base.glance_image_id,
    'checksum': lambda base: base.checksum,
    'state': lambda base: str(base.state),
    'way': lambda base: str(base.way),
    'percent': lambda base: progress.percent_imported(base),
    'done_bytes': lambda base: columns.Size(base.done_bytes),
    'total_bytes': lambda base: columns.Size(base.total_bytes),
    'base': lambda base: _image(base),
    'base_uuid': lambda base: base.clone.uuid if base.clone else '',
    'slot': lambda base: base.slot or '',
    'run_by': lambda base: _runner(base),
    'reason': lambda base: base.reason,
    'attempts': lambda base: base.attempts,
    'retry_at': lambda base: columns.moment(base.retry_at),
    'created_at': lambda base: columns.moment(base.created_at),
    'updated_at': lambda base: columns.moment(base.updated_at),
}


class List(listing.WorkList[Base]):
    """List images that are imported, are being, or wait for it.

    With --all also those that were dropped, refused, or copied by Glance.
    """

    brief = _BRIEF
    full = _FULL
    nothing = 'No image has been imported, nor waits for it.'

    def rows(self, over: bool, marker: int) -> Iterator[Base]:
        """Yield the rows, read page by page."""
        return _rows(
            self.app.lineage, () if over else sorted(LIVE_BASES), marker
        )


class Show(OfManage, show.ShowOne):
    """Show all that is recorded of an image's newest import.

    Who needs its base are the nearest living disks that descend from it.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Add the image."""
        return _with_image(super().get_parser(prog_name))

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[Sequence[str], Sequence[Any]]:
        """Return the row's values."""
        base = _newest(self.app.lineage, parsed_args.image)
        values = [value(base) for value in _FULL.values()]
        needed_by = columns.Names(_needed_by(self.app.lineage, base))
        return (*_FULL, 'needed_by'), [*values, needed_by]


class Import(OfManage, command.Command):
    """Import an image now, so that its first disk is as fast as the next.

    The managers do it, a few at a time in the whole cluster. An image that
    can be cloned as it is needs no import. One that was refused is tried
    again. It asks Glance and Ceph with the managers' configuration file and
    keys.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Add the image, and how long to wait."""
        parser = _with_image(super().get_parser(prog_name))
        finding.add_waiting(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> int:
        """Ask for it, and wait until it is there."""
        base = self._want(parsed_args.image)
        if base is None:
            self.say(
                f'Image {parsed_args.image} can be cloned as it is: there is '
                'nothing to import.'
            )
            return 0
        if base.state is not BaseState.READY:
            self.say(f'Image {base.glance_image_id} is to be imported.')
            if parsed_args.no_wait:
                self.say('See "rbdcloner-manage base list".')
                return 0
        imported = progress.Import(self.app.lineage, base)
        return 0 if self.watch(imported.look, parsed_args.timeout) else 1

    def _want(self, image_id: str) -> Base | None:
        return compose.wanted_base(self.app.conf, self.app.lineage, image_id)


class Drop(OfManage, command.Command):
    """Give up an image's base, or its import; never while a disk needs it.

    It waits for nothing: managers destroy the base in the background. Who
    asks for a disk of the image, and "base import", have it imported anew.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Add the image."""
        return _with_image(super().get_parser(prog_name))

    def take_action(self, parsed_args: argparse.Namespace) -> int:
        """Drop it; what is over already stays as it is."""
        before = _newest(self.app.lineage, parsed_args.image)
        try:
            base = self.app.lineage.drop_base(
                before, 'an administrator dropped it'
            )
        except errors.ParentHasChildren as exc:
            self.say(self._needed(before, exc))
            return 1
        self.app.stdout.write(
            f'The base of image {base.glance_image_id} is {base.state}.\n'
        )
        if base.state is not BaseState.DROPPED:
            self.say(f'There is nothing to drop. {base.reason}'.rstrip())
            return 1
        if before.state in LIVE_BASES:
            self.say(_what_is_next(before, base))
        return 0

    def _needed(self, base: Base, exc: errors.Error) -> str:
        names = _needed_by(self.app.lineage, base)
        if not names:
            # In the trash, or gone just now.
            return str(exc)
        return (
            f'The base of image {base.glance_image_id} is needed by '
            f'{columns.few(names)}. Delete them, or have them get its data as '
            'their own ("flatten start").'
        )


def _with_image(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser.add_argument(
        'image', metavar='IMAGE', help="the image's id in Glance"
    )
    return parser


def _newest(lineage: Lineage, image_id: str) -> Base:
    """Return the image's live base, else the newest.

    :raises BaseNotFound: there never was one.
    """
    found = list(_rows(lineage, (), 0, image_id))
    if not found:
        raise errors.BaseNotFound(uuid=f'of image {image_id}')
    live = [base for base in found if base.state in LIVE_BASES]
    return (live or found)[-1]


def _rows(
    lineage: Lineage,
    states: Sequence[BaseState],
    marker: int,
    image_id: str = '',
) -> Iterator[Base]:
    while page := lineage.bases(
        states, image_id, marker=marker, limit=_ROWS_AT_ONCE
    ):
        yield from page
        marker = page[-1].id


def _what_is_next(before: Base, dropped: Base) -> str:
    anew = 'Who asks for a disk of the image has it imported anew.'
    if before.state is BaseState.READY:
        return (
            f'{_image(dropped)} goes to the trash and is destroyed; "retired '
            f'list" shows it until then. {anew}'
        )
    return f'Who imports it stops, and removes what it has made. {anew}'


def _needed_by(lineage: Lineage, base: Base) -> list[str]:
    if base.clone is None:
        return []
    below = finding.living_below(lineage, base.clone)
    return [str(clone.image) for clone in below]


def _image(base: Base) -> str:
    return str(base.clone.image) if base.clone else ''


def _runner(base: Base) -> str:
    return base.owner if base.state is BaseState.RUNNING else ''
