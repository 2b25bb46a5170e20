# SPDX-License-Identifier: Apache-2.0
"""Disks without a parent, and disks that others made, on real servers."""

import contextlib
import json
import os
from typing import Any
import uuid

import rados
import rbd

from rbdcloner import errors
from rbdcloner import rpcapi
from tests.functional import administrator
from tests.functional import guest
from tests.functional import service
from tests.functional.administrator import DONE
from tests.functional.administrator import REFUSED
from tests.functional.service import GOLDEN
from tests.functional.service import MIB
from tests.functional.service import PROJECT
from tests.stack import reading

#: The chore comes once a minute.
ADOPTS_S = 150
NOTES = 'rbdcloner.unadopted'


class ImportsCase(service.ServiceTest):
    def setUp(self) -> None:
        super().setUp()
        self.instance = str(uuid.uuid4())
        self.name = f'{self.instance}_disk'

    def delete_disks(self) -> None:
        super().delete_disks()
        self.api.delete_disks(self.ctxt, self.instance)

    def whose(self, **changes: Any) -> dict[str, Any]:
        return {
            'name': self.name,
            'pool': 'vms',
            'instance_uuid': self.instance,
            'project_id': PROJECT,
            'host': 'compute-1',
        } | changes

    def begin(self, **changes: Any) -> rpcapi.Disk:
        asked = self.whose(size_bytes=8 * MIB) | changes
        return self.api.begin_import(self.ctxt, **asked)

    def finish(self, disk: rpcapi.Disk, **changes: Any) -> rpcapi.Disk:
        asked = {
            'name': disk['name'],
            'pool': 'vms',
            'image_id': disk['image_id'],
            'size_bytes': disk['size_bytes'],
        }
        return self.api.finish_import(self.ctxt, **asked | changes)

    def adopt(self, **changes: Any) -> rpcapi.Disk:
        return self.api.adopt_disk(self.ctxt, **self.whose(**changes))

    def state(self) -> str:
        disk = self.api.get_disk(self.ctxt, self.name, 'vms')
        return str(disk['state'])

    def write_by_id(self, disk: rpcapi.Disk, data: bytes) -> None:
        with (
            self.pool() as ioctx,
            rbd.Image(ioctx, image_id=disk['image_id']) as image,
        ):
            image.write(data, 0)

    def tag(self, disk: rpcapi.Disk) -> str:
        with self.pool() as ioctx:
            header = f'rbd_header.{disk["image_id"]}'
            return str(ioctx.get_xattr(header, 'rbdcloner.clone').decode())


class ImportTest(ImportsCase):
    def test_what_is_written_and_finished_is_a_disk(self) -> None:
        disk = self.begin()
        self.assertEqual('importing', disk['state'])
        self.assertIsNone(disk['parent'])
        self.assertEqual(f'{disk["uuid"]} writing', self.tag(disk))
        data = os.urandom(MIB)
        self.write_by_id(disk, data)
        for _ in range(2):
            ready = self.finish(disk, size_bytes=16 * MIB)
            self.assertEqual('ready', ready['state'])
            self.assertEqual(16 * MIB, ready['size_bytes'])
        self.assertEqual(data, self.read(ready, 0, MIB))
        self.assertEqual(bytes(9), self.read(ready, 12 * MIB, 9))

    def test_half_written_it_is_never_ready(self) -> None:
        disk = self.begin()
        self.write_by_id(disk, b'half')
        for act, given in (
            (self.api.resize_disk, {'size_bytes': 16 * MIB}),
            (self.api.create_snapshot, {'snapshot': 'snap'}),
        ):
            # Long enough for one answer, however busy the machine is.
            impatient = self.manager.client(10)
            method = getattr(impatient, act.__name__)
            self.assertRaises(
                errors.DiskBusy,
                method,
                self.ctxt,
                name=self.name,
                pool='vms',
                **given,
            )
        self.assertEqual('importing', self.state())
        second = self.begin()
        self.assertNotEqual(disk['image_id'], second['image_id'])
        self.assertEqual(bytes(4), self.read(second, 0, 4))
        self.assertRaises(errors.DiskDiffers, self.finish, disk)
        self.assertEqual('importing', self.state())
        self.assertEqual('ready', self.finish(second)['state'])
        self.assertRaises(errors.DiskDiffers, self.finish, disk)
        self.assertRaises(errors.DiskExists, self.begin)

    def test_who_still_writes_keeps_it_from_being_finished(self) -> None:
        disk = self.begin()
        with guest.running(
            self.servers.ceph.conf, 'client.admin', disk
        ) as writer:
            self.assertRaises(errors.DiskInUse, self.finish, disk)
            writer.written()
        self.assertEqual('ready', self.finish(disk)['state'])

    def test_deleted_while_it_is_written_it_goes_when_it_is_closed(
        self,
    ) -> None:
        disk = self.begin()
        with guest.running(self.servers.ceph.conf, 'client.admin', disk):
            self.assertRaises(
                errors.DiskInUse,
                self.api.delete_disks,
                self.ctxt,
                self.instance,
            )
            self.assertRaises(errors.DiskNotFound, self.finish, disk)
        self.assert_becomes(
            [], lambda: self.rows(f"name = '{self.name}' AND live = 1")
        )

    def test_snapshot_of_an_imported_disk_outlives_it(self) -> None:
        disk = self.begin()
        self.write_by_id(disk, b'imported')
        self.finish(disk)
        image_id = str(uuid.uuid4())
        location = self.api.snapshot_disk(
            self.ctxt, self.name, 'vms', image_id, 'images'
        )
        self.addCleanup(self.api.discard_snapshot, self.ctxt, location)
        self.api.delete_disk(self.ctxt, self.name, 'vms')
        with (
            self.pool('images') as ioctx,
            reading.opened(ioctx, image_id, snapshot='snap') as image,
        ):
            self.assertEqual(b'imported', image.read(0, 8))
        self.api.discard_snapshot(self.ctxt, location)

    def test_arguments_that_make_no_sense_are_refused(self) -> None:
        disk = self.begin()
        for changes in (
            {'name': 'a/b'},
            {'size_bytes': 0},
            {'instance_uuid': 'x'},
            {'host': None},
        ):
            with self.subTest(changes):
                self.assertRaises(
                    errors.InvalidArgument, self.begin, **changes
                )
        self.assertRaises(
            errors.InvalidArgument, self.finish, disk, image_id=''
        )
        self.assertRaises(errors.InvalidArgument, self.adopt, image_id='x')
        self.assertRaises(errors.PoolNotServed, self.begin, pool='images')


class ImportFormat1OnMariaDBTest(ImportTest):
    database = 'mariadb'
    options = {'ceph': {'clone_format': 1}}  # noqa: RUF012


class AdoptionCase(ImportsCase):
    """What Nova's own code does."""

    clone_format = 2

    def nova_clones(self, name: str = '') -> str:
        """Clone the golden image as Nova's own code does; the RBD id."""
        name = name or self.name
        self.addCleanup(self.adopt_if_there, name)
        setting = {'rbd_default_clone_format': str(self.clone_format)}
        with rados.Rados(
            conffile=str(self.servers.ceph.conf),
            name='client.admin',
            conf=setting,
        ) as nova:
            vms, images = nova.open_ioctx('vms'), nova.open_ioctx('images')
            rbd.RBD().clone(images, self.image_id, 'snap', vms, name)
            with rbd.Image(vms, name) as image:
                image.resize(8 * MIB)
                return str(image.id())

    def nova_imports(self, name: str, size_bytes: int = MIB) -> None:
        self.addCleanup(self.adopt_if_there, name)
        with self.pool() as ioctx:
            rbd.RBD().create(ioctx, name, size_bytes)

    def adopt_if_there(self, name: str) -> None:
        """Let it be deleted with the other disks if the test failed."""
        with contextlib.suppress(errors.DiskNotFound):
            self.adopt(name=name)

    def note(self, name: str, value: str = '') -> None:
        whose = self.whose(image_id=None)
        del whose['name'], whose['pool']
        value = value or json.dumps(whose)
        with self.pool() as ioctx, rados.WriteOpCtx() as operation:
            ioctx.set_omap(operation, (name,), (value.encode(),))
            ioctx.operate_write_op(operation, NOTES)

    def noted(self) -> set[str]:
        with self.pool() as ioctx, rados.ReadOpCtx() as operation:
            found, _ = ioctx.get_omap_vals(operation, '', '', 100)
            try:
                ioctx.operate_read_op(operation, NOTES)
            except rados.ObjectNotFound:
                return set()
            return {name for name, _value in found}


class AdoptionTest(AdoptionCase):
    def test_a_clone_in_use_is_adopted_with_its_parent(self) -> None:
        rbd_id = self.nova_clones()
        at = {'pool': 'vms', 'name': self.name}
        with guest.running(
            self.servers.ceph.conf, 'client.admin', at
        ) as running:
            disk = self.adopt()
            running.written()
        self.assertEqual('ready', disk['state'])
        self.assertEqual(rbd_id, disk['image_id'])
        self.assertEqual(8 * MIB, disk['size_bytes'])
        self.assertEqual(self.clone_format, disk['clone_format'])
        self.assertEqual(self.image_id, disk['parent']['image'])
        self.assertEqual(self.image_id, disk['glance_image_id'])
        self.assertEqual(disk['uuid'], self.tag(disk))
        self.assertEqual(disk, self.adopt())
        self.assertEqual(GOLDEN[:MIB], self.read(disk, 0, MIB))
        made = self.api.create_disk(
            self.ctxt, **self.whose(image_id=self.image_id, size_bytes=8 * MIB)
        )
        self.assertEqual(disk, made)

    def test_a_disk_without_a_parent_is_adopted(self) -> None:
        self.nova_imports(self.name)
        disk = self.adopt(image_id=self.image_id)
        self.assertIsNone(disk['parent'])
        self.assertEqual(self.image_id, disk['glance_image_id'])
        self.api.resize_disk(self.ctxt, self.name, 'vms', 2 * MIB)

    def test_what_is_not_there_is_not_adopted(self) -> None:
        self.assertRaises(errors.DiskNotFound, self.adopt)

    def test_what_is_noted_is_adopted_by_itself(self) -> None:
        gone, odd = f'{uuid.uuid4()}_disk', f'{uuid.uuid4()}_disk'
        self.nova_clones()
        self.note(self.name)
        self.note(gone)
        self.note(odd, 'no JSON')
        self.assert_becomes(set(), self.noted, ADOPTS_S)
        disk = self.api.get_disk(self.ctxt, self.name, 'vms')
        self.assertEqual('ready', disk['state'])
        self.assertEqual(self.instance, disk['instance_uuid'])
        self.assertEqual([], self.rows(f"name IN ('{gone}', '{odd}')"))

    def test_deletion_by_instance_finds_what_is_noted(self) -> None:
        self.nova_clones()
        self.note(self.name)
        (gone,) = self.api.delete_disks(self.ctxt, self.instance)
        self.assertEqual('retired', gone['state'])
        self.assertEqual(set(), self.noted())


class AdoptionFormat1OnMariaDBTest(AdoptionTest):
    clone_format = 1
    database = 'mariadb'
    options = {'ceph': {'clone_format': 1}}  # noqa: RUF012


class CommandTest(AdoptionCase):
    """``rbdcloner-manage disk adopt``."""

    def remove(self, name: str) -> None:
        with self.pool() as ioctx:
            rbd.RBD().remove(ioctx, name)

    def run_program(self, *arguments: str) -> administrator.Ran:
        return administrator.run(self.manager.conf, *arguments)

    def test_all_that_nova_made_is_adopted(self) -> None:
        suffixes = ('', '.swap', '.eph0', '.config')
        names = [f'{self.name}{suffix}' for suffix in suffixes]
        self.nova_clones()
        for name in names[1:]:
            self.nova_imports(name)
        others = f'volume-{uuid.uuid4()}'
        with self.pool() as ioctx:
            rbd.RBD().create(ioctx, others, MIB)
        self.addCleanup(self.remove, others)
        recorded = self.create()
        ran = self.run_program('disk', 'adopt', '--dry-run')
        self.assertEqual(DONE, ran.code, ran.err)
        self.assertEqual(4, ran.out.count('would be adopted'), ran.out)
        self.assertEqual([], self.rows(f"name LIKE '{self.instance}%'"))
        ran = self.run_program('disk', 'adopt', '-f', 'json')
        self.assertEqual((DONE, '4 adopted\n'), (ran.code, ran.err))
        self.assertEqual(
            [f'vms/{name}' for name in sorted(names)],
            [row['Disk'] for row in ran.rows],
        )
        self.assertEqual(f'images/{self.image_id}@snap', ran.rows[0]['Parent'])
        self.assertNotIn(recorded['name'], ran.out)
        again = self.run_program('disk', 'adopt')
        self.assertEqual((DONE, '0 adopted\n'), (again.code, again.err))
        refused = self.run_program('disk', 'adopt', others, 'no-such_disk')
        self.assertEqual(REFUSED, refused.code)
        self.assertIn("does not begin with an instance's uuid", refused.out)
        self.assertIn('There is no disk no-such_disk', refused.out)
        gone = self.api.delete_disks(self.ctxt, self.instance)
        self.assertEqual(4, len(gone))
