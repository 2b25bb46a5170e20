# SPDX-License-Identifier: Apache-2.0
"""disk adopt: the disks that there were before this service, recorded."""

import argparse
from collections.abc import Iterator
from collections.abc import Sequence
import dataclasses
import re
from typing import Any

from cliff import lister

from rbdcloner import errors
from rbdcloner.ceph.driver import Driver
from rbdcloner.cloning.noted import Noted
from rbdcloner.cmd import compose
from rbdcloner.cmd.manage import columns
from rbdcloner.cmd.manage import finding
from rbdcloner.cmd.manage.app import OfManage
from rbdcloner.model import DiskRequest
from rbdcloner.model import Filters
from rbdcloner.model import Image
from rbdcloner.states import LIVE
from rbdcloner.states import State

_UUID = r'[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}'

#: Whose disk an image is.
_OF_INSTANCE = re.compile(rf'({_UUID})[_.]')

#: ``UUID_disk``, ``UUID_disk.local``, ``.eph0``, ``.swap``, ``.config`` …
_NOVAS = re.compile(rf'{_UUID}_disk(\.[\w-]+)?')

_TELL_EVERY = 100
_COLUMNS = ('Disk', 'Size', 'Parent', 'Instance', 'Result')


@dataclasses.dataclass(slots=True)
class _Counts:
    done: int = 0
    failed: int = 0


class Adopt(OfManage, lister.Lister):
    """Record disks that Nova made without this service.

    Of those named; or, without a name, of every image of the disks' pools
    that is called as Nova calls disks (UUID_disk, UUID_disk.local, .eph0,
    .swap, .config, .rescue …) and is not recorded: once, when Nova begins to
    use this service. Nothing is copied and nothing stops: disks may be in
    use. Sizes, parents and ids are what Ceph says, the instance is what the
    name begins with, project and host stay empty. Do not adopt what Nova is
    making at the moment.

    It works in Ceph with the managers' configuration file and key. Repeated,
    it goes on with what is left.
    """

    _counts = _Counts()

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Add the disks, their pool, and the rehearsal."""
        parser = super().get_parser(prog_name)
        parser.add_argument(
            'disk',
            metavar='NAME',
            nargs='*',
            help='default: all that are not recorded',
        )
        parser.add_argument(
            '--pool', default='', help='only this pool; default: disk_pools'
        )
        parser.add_argument(
            '--dry-run',
            action='store_true',
            help='tell what would be adopted, and change nothing',
        )
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[Sequence[str], Iterator[tuple[Any, ...]]]:
        """Adopt one after the other; what came of each."""
        self._counts = _Counts()
        driver, noted = self._open()
        pools = [parsed_args.pool] if parsed_args.pool else sorted(noted.pools)
        for pool in pools:
            noted.adoption.engine.check_pool(pool)
        return _COLUMNS, self._each(
            self._chosen(driver, pools, parsed_args.disk),
            driver,
            None if parsed_args.dry_run else noted,
        )

    def afterwards(self, parsed_args: argparse.Namespace) -> int:
        """Tell persons how many there were."""
        verb = 'to be adopted' if parsed_args.dry_run else 'adopted'
        text = f'{self._counts.done} {verb}'
        failed = self._counts.failed
        self.say(f'{text}, {failed} not' if failed else text)
        return 1 if failed else 0

    def _open(self) -> tuple[Driver, Noted]:
        """Return a driver that is connected, and who adopts."""
        return compose.adopter(self.app.conf, self.app.lineage)

    def _chosen(
        self, driver: Driver, pools: Sequence[str], names: Sequence[str]
    ) -> list[Image]:
        found = []
        for pool in pools:
            present = driver.images(pool)
            if names:
                wanted = {n: i for i, n in present.items() if n in names}
            else:
                recorded = self._recorded(pool)
                wanted = {
                    name: image_id
                    for image_id, name in present.items()
                    if _NOVAS.fullmatch(name) and image_id not in recorded
                }
            found += [
                Image(driver.fsid, pool, '', name, wanted[name])
                for name in sorted(wanted)
            ]
        missing = set(names) - {image.name for image in found}
        where = pools[0] if len(pools) == 1 else ''
        found += [
            Image(driver.fsid, where, '', name) for name in sorted(missing)
        ]
        return found

    def _recorded(self, pool: str) -> set[str]:
        kept = Filters(pool=pool, states=(*LIVE, State.RETIRED))
        return {row.image.id for row in finding.rows(self.app.lineage, kept)}

    def _each(
        self, chosen: Sequence[Image], driver: Driver, noted: Noted | None
    ) -> Iterator[tuple[Any, ...]]:
        for number, image in enumerate(chosen, start=1):
            yield self._one(image, driver, noted)
            if number % _TELL_EVERY == 0:
                self.say(f'{number} of {len(chosen)}')

    def _one(
        self, image: Image, driver: Driver, noted: Noted | None
    ) -> tuple[Any, ...]:
        owner = _OF_INSTANCE.match(image.name)
        instance = owner[1] if owner else ''
        try:
            size_bytes, parent = _look(driver, image)
            if not instance:
                raise errors.InvalidArgument(
                    argument=image.name,
                    reason="it does not begin with an instance's uuid",
                )
            if noted is not None:
                noted.adoption.adopt(_request(image, instance))
        except errors.Error as exc:
            self._counts.failed += 1
            return (str(image), '', '', instance, f'not adopted: {exc}')
        self._counts.done += 1
        result = 'adopted' if noted else 'would be adopted'
        return (
            str(image),
            columns.Size(size_bytes),
            parent,
            columns.Identity(instance),
            result,
        )


def _look(driver: Driver, image: Image) -> tuple[int, str]:
    """Return the size of an image, and its parent, as text.

    :raises DiskNotFound: there is no such image.
    """
    facts = driver.find_image(image) if image.id else None
    if facts is None:
        raise errors.DiskNotFound(name=image.name, pool=image.pool or '(any)')
    descent = driver.find_parent(facts.image)
    parent = str(descent.parent.snapshot) if descent else ''
    return facts.size_bytes, parent


def _request(image: Image, instance_uuid: str) -> DiskRequest:
    return DiskRequest(
        image_id='',
        name=image.name,
        pool=image.pool,
        size_bytes=0,
        instance_uuid=instance_uuid,
        project_id='',
        host='',
    )
