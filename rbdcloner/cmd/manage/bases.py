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
from rbdcloner.cmd.manage import columns
from rbdcloner.cmd.manage import finding
from rbdcloner.cmd.manage import listing
from rbdcloner.cmd.manage import progress
from rbdcloner.cmd.manage.app import OfManage
from rbdcloner.db.lineage import Lineage
from rbdcloner.model import Base
from rbdcloner.states import LIVE_BASES
from rbdcloner.states import ImportState
from rbdcloner.worker import wiring

_ROWS_AT_ONCE = 500

_BRIEF: dict[str, Callable[[Base], Any]] = {
    'ID': lambda base: base.id,
    'Image': lambda base: base.glance_image_id,
    'State': lambda base: str(base.state),
    'Method': lambda base: str(base.way),
    'Progress': lambda base: f'{progress.percent_imported(base)} %',
    'Done': lambda base: columns.Size(base.done_bytes),
    'Total': lambda base: columns.Size(base.total_bytes),
    'Worker': lambda base: _runner(base),
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
    """List image imports: ready, running or waiting.

    With --all also imports that were dropped or refused, and images that
    Glance copied into this cluster.
    """

    brief = _BRIEF
    full = _FULL
    nothing = 'No image is imported, and no image import is waiting.'

    def rows(self, over: bool, marker: int) -> Iterator[Base]:
        """Yield the rows, read page by page."""
        return _rows(
            self.app.lineage, () if over else sorted(LIVE_BASES), marker
        )


class Show(OfManage, show.ShowOne):
    """Show all that is recorded of the newest import of an image.

    "needed_by" lists the nearest living disks that descend from the base
    image.
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
    """Import an image now, before the first disk of it is requested.

    The managers import a few images at a time in the whole cluster. An image
    that can be cloned in place needs no import. A refused import is tried
    again. The command asks Glance and Ceph, with the configuration file and
    the keys of the managers.
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
                f'Image {parsed_args.image} can be cloned in place and needs '
                'no import.'
            )
            return 0
        if base.state is not ImportState.READY:
            self.say(f'Image {base.glance_image_id} will be imported.')
            if parsed_args.no_wait:
                self.say(
                    'To see the progress, run "rbdcloner-manage base list".'
                )
                return 0
        imported = progress.Import(self.app.lineage, base)
        return 0 if self.watch(imported.look, parsed_args.timeout) else 1

    def _want(self, image_id: str) -> Base | None:
        return wiring.wanted_base(self.app.conf, self.app.lineage, image_id)


class Drop(OfManage, command.Command):
    """Drop the base image of an image, or cancel its import.

    A base image that a disk needs is not dropped. The command does not wait:
    the managers destroy the base image in the background. The next request
    for a disk of the image, or "base import", imports the image again.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Add the image."""
        return _with_image(super().get_parser(prog_name))

    def take_action(self, parsed_args: argparse.Namespace) -> int:
        """Drop the base image; a finished row stays as it is."""
        before = _newest(self.app.lineage, parsed_args.image)
        try:
            base = self.app.lineage.base_images.drop_base(
                before, 'an administrator dropped it'
            )
        except errors.ParentHasChildren as exc:
            self.say(self._needed(before, exc))
            return 1
        self.app.stdout.write(
            f'The base image of image {base.glance_image_id} is '
            f'{base.state}.\n'
        )
        if base.state is not ImportState.DROPPED:
            self.say(f'Nothing was dropped. {base.reason}'.rstrip())
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
            f'The base image of image {base.glance_image_id} is needed by '
            f'{columns.few(names)}. Delete these disks, or flatten them with '
            '"rbdcloner-manage flatten start".'
        )


def _with_image(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser.add_argument('image', metavar='IMAGE', help='Glance image ID')
    return parser


def _newest(lineage: Lineage, image_id: str) -> Base:
    """Return the image's live base, else the newest.

    :raises ImageImportNotFound: there never was one.
    """
    found = list(_rows(lineage, (), 0, image_id))
    if not found:
        raise errors.ImageImportNotFound(uuid=f'of image {image_id}')
    live = [base for base in found if base.state in LIVE_BASES]
    return (live or found)[-1]


def _rows(
    lineage: Lineage,
    states: Sequence[ImportState],
    marker: int,
    image_id: str = '',
) -> Iterator[Base]:
    while page := lineage.image_imports.page(
        states, image_id, marker=marker, limit=_ROWS_AT_ONCE
    ):
        yield from page
        marker = page[-1].id


def _what_is_next(before: Base, dropped: Base) -> str:
    anew = 'The next request for a disk imports the image again.'
    if before.state is ImportState.READY:
        return (
            f'{_image(dropped)} is moved to the trash and destroyed; until '
            f'then "retired list" shows the image. {anew}'
        )
    return f'The worker stops the import and removes its data. {anew}'


def _needed_by(lineage: Lineage, base: Base) -> list[str]:
    if base.clone is None:
        return []
    below = finding.living_below(lineage, base.clone)
    return [str(clone.image) for clone in below]


def _image(base: Base) -> str:
    return str(base.clone.image) if base.clone else ''


def _runner(base: Base) -> str:
    return base.owner if base.state is ImportState.RUNNING else ''
