# SPDX-License-Identifier: Apache-2.0
"""What happens while no manager answers, and after that."""

import json
from typing import Any
from unittest import mock
import uuid

from nova import exception
from nova.compute import vm_states
from nova.storage import rbd_utils as novas_rbd
from nova.virt.libvirt import driver as novas
import rados

from rbdcloner import errors
from rbdcloner.nova import asking
from rbdcloner.nova import driver
from rbdcloner.nova import rbd_utils
from tests.functional.service import GOLDEN
from tests.functional.service import MIB
from tests.nova import compute


class ModeTest(compute.ComputeTest):
    def alone(self) -> None:
        """Have no manager until the test ends."""
        self.manager.stop()
        self.addCleanup(self.back)

    def back(self) -> None:
        """Have a manager, that nova-compute knows of."""
        running = self.manager.daemons[self.manager.name].process
        if running is None:
            self.manager.start()
        asking._service_of.cache_clear()

    def noted(self) -> dict[str, Any]:
        """Return what Nova notes for the managers."""
        with self.pool() as ioctx:
            return notes(ioctx)


def notes(ioctx: Any) -> dict[str, Any]:
    """Return what lies in the omap, by the image's name."""
    with rados.ReadOpCtx() as operation:
        found, _ = ioctx.get_omap_vals(operation, '', '', 100)
        try:
            ioctx.operate_read_op(operation, rbd_utils.UNADOPTED)
        except rados.ObjectNotFound:
            return {}
        return {name: json.loads(value) for name, value in found}


class _Driver(driver.LibvirtDriver):
    """Nova's, as far as it goes without a hypervisor."""

    def __init__(self) -> None:
        self._device_event_handler = novas.AsyncDeviceEventsHandler()

    def _destroy(self, instance: Any) -> None:
        pass

    def cleanup(self, context: Any, instance: Any, *_: Any, **__: Any) -> None:
        self._cleanup_rbd(instance)


class RequireTest(ModeTest):
    timeout_s = 3

    def test_build_fails_with_a_sentence(self) -> None:
        self.alone()
        refused = self.assertRaises(
            exception.NovaException, self.boot, self.disk()
        )
        self.assertIn('No rbdcloner-manager answered', str(refused))
        self.assertFalse(rbd_utils.RBDDriver().exists(self.disk().rbd_name))
        self.back()
        self.boot(self.disk())
        self.assertEqual('ready', self.row()['state'])

    def test_who_has_no_disk_is_cleaned_up_without_a_manager(self) -> None:
        self.alone()
        compute.delete_disks(self.instance)
        self.back()
        self.boot(self.disk())
        self.alone()
        self.assertRaises(
            exception.NovaException, compute.delete_disks, self.instance
        )

    def test_disks_of_a_failed_build_are_noted_as_unwanted(self) -> None:
        self.boot(self.disk())
        self.alone()
        self.destroy(vm_states.ACTIVE)
        self.assertEqual({}, self.noted())
        self.addCleanup(self.strike_all)
        self.destroy(vm_states.BUILDING)
        uuid = self.instance.uuid
        self.assertEqual(
            {f'{uuid}_unwanted': {'instance_uuid': uuid, 'unwanted': 'yes'}},
            self.noted(),
        )

    def destroy(self, vm_state: str) -> None:
        """Fail to destroy the instance, which is in that state."""
        self.instance.vm_state = vm_state
        self.assertRaises(
            exception.NovaException,
            *(_Driver().destroy, self.context, self.instance, []),
        )

    def strike_all(self) -> None:
        """Remove what is noted."""
        with self.pool() as ioctx:
            ioctx.remove_object(rbd_utils.UNADOPTED)

    def test_disk_that_is_there_is_there_without_a_manager(self) -> None:
        self.boot(self.disk())
        self.alone()
        self.assertTrue(self.disk().exists())


class PreferTest(ModeTest):
    mode = 'prefer'
    timeout_s = 20

    def test_nova_makes_what_is_adopted_when_it_changes(self) -> None:
        self.alone()
        disk = self.disk()
        self.boot(disk)
        config = self.disk('disk.config')
        config.import_file(self.instance, self.file(b'x'), 'disk.config')
        swap = self.disk('disk.swap')
        swap.import_file(self.instance, self.file(b'y'), 'disk.swap')
        self.assertEqual(8 * MIB, disk.get_disk_size(None))
        self.assertEqual(
            {disk.rbd_name, config.rbd_name, swap.rbd_name},
            set(self.noted()),
        )
        noted = self.noted()[disk.rbd_name]
        self.assertEqual(
            {
                'instance_uuid': self.instance.uuid,
                'project_id': self.instance.project_id,
                'host': 'here',
                'image_id': self.image_id,
            },
            noted,
        )
        compute.delete_disks(self.instance, 'disk.swap')
        self.assertFalse(swap.exists())
        self.back()
        disk.resize_image(16 * MIB)
        row = self.row()
        self.assertEqual(16 * MIB, row['size_bytes'])
        self.assertEqual(self.image_id, row['parent']['image'])
        self.assertEqual(GOLDEN, self.read(row, 0, len(GOLDEN)))
        # Of what is not on record, too.
        compute.delete_disks(self.instance)
        self.assertFalse(config.exists())
        self.assertFalse(disk.exists())

    def test_note_precedes_the_image_that_nova_makes(self) -> None:
        seen: dict[str, Any] = {}

        def look(made: str) -> None:
            # Nova's own code is about to make the image.
            self.assertFalse(rbd_utils.RBDDriver().exists(made))
            seen[made] = self.noted().get(made)

        self.alone()
        disk, config = self.disk(), self.disk('disk.config')
        clone = novas_rbd.RBDDriver.clone
        import_image = novas_rbd.RBDDriver.import_image

        # Nova's code is not replaced, only looked at just before it acts.
        def cloned(driver: Any, *args: Any, **kwargs: Any) -> None:
            look(disk.rbd_name)
            clone(driver, *args, **kwargs)

        def imported(driver: Any, *args: Any, **kwargs: Any) -> None:
            look(config.rbd_name)
            import_image(driver, *args, **kwargs)

        with (
            mock.patch.object(novas_rbd.RBDDriver, 'clone', cloned),
            mock.patch.object(novas_rbd.RBDDriver, 'import_image', imported),
        ):
            self.boot(disk)
            config.import_file(self.instance, self.file(b'x'), 'disk.config')
        whose = {
            'instance_uuid': self.instance.uuid,
            'project_id': self.instance.project_id,
            'host': 'here',
        }
        self.assertEqual(
            {
                disk.rbd_name: whose
                | {'image_id': self.image_id, 'making': 'yes'},
                config.rbd_name: whose | {'image_id': '', 'making': 'yes'},
            },
            seen,
        )
        self.assertEqual(
            {
                disk.rbd_name: whose | {'image_id': self.image_id},
                config.rbd_name: whose | {'image_id': ''},
            },
            self.noted(),
        )
        self.back()
        compute.delete_disks(self.instance)

    def test_making_that_fails_leaves_no_note(self) -> None:
        self.alone()
        disk = self.disk()
        self.assertRaises(
            exception.ImageNotFound,
            *(disk.direct_fetch, self.context, str(uuid.uuid4()), 8 * MIB),
        )
        self.assertEqual({}, self.noted())

    def test_disk_that_is_not_resized_is_noted_as_whole(self) -> None:
        self.alone()
        disk = self.disk()
        self.assertRaises(
            exception.FlavorDiskSmallerThanImage,
            *(disk.direct_fetch, self.context, self.image_id, MIB),
        )
        self.assertNotIn('making', self.noted()[disk.rbd_name])
        self.back()
        compute.delete_disks(self.instance)

    def test_note_of_another_making_is_not_struck(self) -> None:
        ceph = rbd_utils.RBDDriver()
        ceph.note_unadopted('disk', {'host': 'another'})
        ceph.strike_unadopted('disk', {'host': 'here'})
        self.assertEqual({'disk': {'host': 'another'}}, self.noted())
        for _twice in range(2):
            ceph.strike_unadopted('disk', {'host': 'another'})
        self.assertEqual({}, self.noted())

    def test_manager_is_asked_when_there_is_one(self) -> None:
        self.boot(self.disk())
        self.assertEqual('ready', self.row()['state'])
        self.assertNotIn(self.disk().rbd_name, self.noted())

    def test_refusal_is_no_reason_to_go_alone(self) -> None:
        self.assertRaises(
            exception.FlavorDiskSmallerThanImage,
            *(self.boot, self.disk(), self.image_id, MIB),
        )
        self.assertRaises(
            errors.DiskNotFound,
            *(self.api.get_disk, self.ctxt, self.disk().rbd_name, 'vms'),
        )
