# SPDX-License-Identifier: Apache-2.0
"""Disks made, grown and deleted through RabbitMQ, on real servers."""

from concurrent import futures
import gzip
import inspect
import uuid

import pytest
import rbd
import testtools
from testtools import matchers

from rbdcloner import errors
from rbdcloner import manager
from rbdcloner import rpcapi
from tests.functional import service
from tests.functional.service import GOLDEN
from tests.functional.service import MIB


@pytest.mark.smoke
class DisksTest(service.ServiceTest):
    """Clone format 2 on SQLite; below, the same otherwise."""

    clone_format = 2

    def test_disk_reads_as_the_image_and_writes_for_itself(self) -> None:
        disk, other = self.create(), self.create()
        self.assertEqual(GOLDEN, self.read(disk, 0, len(GOLDEN)))
        self.write(disk, MIB, b'changed')
        self.assertEqual(b'changed', self.read(disk, MIB, 7))
        self.assertEqual(GOLDEN, self.read(other, 0, len(GOLDEN)))
        with (
            self.pool('images') as ioctx,
            rbd.Image(ioctx, self.image_id, 'snap', read_only=True) as parent,
        ):
            self.assertEqual(GOLDEN, parent.read(0, len(GOLDEN)))

    def test_disk_is_a_clone_of_the_asked_size(self) -> None:
        disk = self.create()
        with self.pool() as ioctx, rbd.Image(ioctx, disk['name']) as image:
            self.assertEqual(8 * MIB, image.size())
            self.assertEqual(disk['image_id'], image.id())
            self.assertEqual(
                ('images', self.image_id, 'snap'), tuple(image.parent_info())
            )
            header = f'rbd_header.{disk["image_id"]}'
            tag = ioctx.get_xattr(header, 'rbdcloner.clone')
            self.assertEqual(disk['uuid'], tag.decode())
            with rbd.Image(
                ioctx_of(self, 'images'), self.image_id, read_only=True
            ) as parent:
                self.assertEqual(
                    parent.snap_get_id('snap'), disk['parent']['snapshot_id']
                )
                self.assertEqual(parent.id(), disk['parent']['image_id'])
        self.assertEqual(self.clone_format, disk['clone_format'])
        self.assertEqual('ready', disk['state'])

    def test_repeated_call_gives_the_same_answer(self) -> None:
        asked = self.asked()
        first = self.api.create_disk(self.ctxt, **asked)
        self.assertEqual(first, self.api.create_disk(self.ctxt, **asked))

    def test_many_at_once_for_one_name_make_one_clone(self) -> None:
        asked = self.asked()
        with futures.ThreadPoolExecutor(8) as pool:
            answers = [
                pool.submit(self.api.create_disk, self.ctxt, **asked)
                for _ in range(8)
            ]
        uuids = {answer.result()['uuid'] for answer in answers}
        self.assertThat(uuids, matchers.HasLength(1))

    def test_disk_is_found_and_measured(self) -> None:
        disk = self.create()
        at = {'name': disk['name'], 'pool': 'vms'}
        self.assertEqual(disk, self.api.get_disk(self.ctxt, **at))
        self.assertEqual(8 * MIB, self.api.get_disk_size(self.ctxt, **at))

    def test_disk_grows_and_never_shrinks(self) -> None:
        disk = self.create()
        at = {'name': disk['name'], 'pool': 'vms'}
        for _ in range(2):
            grown = self.api.resize_disk(self.ctxt, size_bytes=16 * MIB, **at)
            self.assertEqual(16 * MIB, grown['size_bytes'])
        self.assertRaises(
            errors.ShrinkRefused,
            self.api.resize_disk,
            self.ctxt,
            size_bytes=8 * MIB,
            **at,
        )
        with self.pool() as ioctx, rbd.Image(ioctx, disk['name']) as image:
            self.assertEqual(16 * MIB, image.size())

    def test_deletion_repeated_finds_the_name_free(self) -> None:
        at = {'name': self.create()['name'], 'pool': 'vms'}
        gone = self.api.delete_disk(self.ctxt, **at)
        self.assertEqual('retired', gone['state'])
        with self.pool() as ioctx:
            self.assertNotIn(at['name'], rbd.RBD().list(ioctx))
        again = self.api.delete_disk(self.ctxt, **at)
        self.assertEqual(gone['uuid'], again['uuid'])
        self.assertRaises(
            errors.DiskNotFound, self.api.get_disk, self.ctxt, **at
        )
        self.assert_becomes(
            'deleted', lambda: self.api.delete_disk(self.ctxt, **at)['state']
        )
        self.assertEqual(self.before, self.in_ceph())

    def test_name_is_used_again_at_once(self) -> None:
        asked = self.asked()
        first = self.api.create_disk(self.ctxt, **asked)
        self.write(first, 0, b'first')
        self.api.delete_disk(self.ctxt, asked['name'], 'vms')
        second = self.api.create_disk(self.ctxt, **asked)
        self.assertNotEqual(first['image_id'], second['image_id'])
        self.assertEqual(GOLDEN[:5], self.read(second, 0, 5))

    def test_disks_of_an_instance_are_listed_and_deleted(self) -> None:
        instance = str(uuid.uuid4())
        names = [f'{instance}_disk{suffix}' for suffix in ('', '.swap')]
        for name in names:
            self.create(name=name, instance_uuid=instance)
        self.create()
        page = self.api.list_disks(self.ctxt, instance_uuid=instance)
        self.assertEqual(names, [disk['name'] for disk in page['disks']])
        gone = self.api.delete_disks(self.ctxt, instance, '.swap')
        self.assertEqual(names[1:], [disk['name'] for disk in gone])
        gone = self.api.delete_disks(self.ctxt, instance)
        self.assertEqual(names, [disk['name'] for disk in gone])

    def test_pages_of_a_parents_disks_have_all_once(self) -> None:
        made = [self.create() for _ in range(5)]
        parent = made[0]['parent']['id']
        seen: list[str] = []
        marker: int | None = 0
        while marker is not None:
            page = self.api.list_disks(
                self.ctxt,
                parent=parent,
                state='ready',
                marker=marker,
                limit=2,
            )
            seen += [disk['uuid'] for disk in page['disks']]
            marker = page['marker']
        self.assertEqual([disk['uuid'] for disk in made], seen)

    def test_image_is_cloneable_where_glance_says(self) -> None:
        verdict = self.api.is_cloneable(self.ctxt, self.image_id)
        self.assertTrue(verdict['cloneable'])
        self.assertEqual(
            f'rbd://{self.servers.ceph.fsid}/images/{self.image_id}/snap',
            verdict['location'],
        )
        self.assertEqual(len(GOLDEN), verdict['size_bytes'])
        self.assertEqual([], verdict['refusals'])

    def test_hidden_image_is_cloneable(self) -> None:
        image = self.servers.glance.upload('hidden', GOLDEN, os_hidden=True)
        self.assertTrue(
            self.api.is_cloneable(self.ctxt, image.id)['cloneable']
        )
        disk = self.create(image_id=image.id)
        self.assertEqual(GOLDEN, self.read(disk, 0, len(GOLDEN)))

    def test_image_in_a_container_is_not_cloneable(self) -> None:
        image = self.servers.glance.upload(
            'packed', gzip.compress(GOLDEN), container_format='compressed'
        )
        self.assert_not_cloneable(image.id, 'not-bare', 'compressed container')

    def test_image_without_data_is_not_cloneable(self) -> None:
        image = self.servers.glance.upload('empty', b'')
        self.assertEqual('active', image.status)
        self.assert_not_cloneable(image.id, 'empty', 'has no data')

    def assert_not_cloneable(
        self, image_id: str, refusal: str, reason: str
    ) -> None:
        """Assert that the image is refused, whether imports are allowed."""
        verdict = self.api.is_cloneable(self.ctxt, image_id)
        self.assertFalse(verdict['cloneable'])
        self.assertEqual(
            [refusal], [each['reason'] for each in verdict['refusals']]
        )
        self.assertIn(reason, verdict['import']['reason'])
        self.assertRaises(
            errors.ImageNotCloneable, self.create, image_id=image_id
        )
        refused = self.assertRaises(
            errors.ImageUnfit,
            self.create,
            image_id=image_id,
            import_='allowed',
        )
        self.assertIn(reason, str(refused))

    def test_ping_tells_version_workers_and_cluster(self) -> None:
        answer = self.api.ping(self.ctxt)
        self.assertEqual(self.servers.ceph.fsid, answer['fsid'])
        self.assertEqual(2, answer['workers'])


class DisksFormat1OnMariaDBTest(DisksTest):
    clone_format = 1
    database = 'mariadb'
    options = {'ceph': {'clone_format': 1}}  # noqa: RUF012

    def test_unprotected_parent_is_protected_and_given_back(self) -> None:
        image_id = self.servers.glance.upload('open', GOLDEN).id
        with (
            self.pool('images') as ioctx,
            rbd.Image(ioctx, image_id) as image,
        ):
            image.unprotect_snap('snap')
            disk = self.create(image_id=image_id)
            self.assertTrue(image.is_protected_snap('snap'))
            self.api.delete_disk(self.ctxt, disk['name'], 'vms')
            self.assert_becomes(False, lambda: image.is_protected_snap('snap'))


class DisksOnPostgreSQLTest(DisksTest):
    database = 'postgresql'


class SignaturesTest(testtools.TestCase):
    def test_each_method_of_the_client_has_its_twin(self) -> None:
        clients = _signatures(rpcapi.API)
        # Of the client alone: how long it waits, and its connections.
        del clients['within'], clients['close']
        self.assertEqual(clients, _signatures(manager.Manager))
        self.assertThat(clients, matchers.Not(matchers.HasLength(0)))


def _signatures(kind: type) -> dict[str, list[tuple[str, object]]]:
    return {
        name: [
            (each.name, each.default)
            for each in inspect.signature(method).parameters.values()
        ]
        for name, method in inspect.getmembers(kind, inspect.isfunction)
        if not name.startswith('_')
    }


def ioctx_of(test: service.ServiceTest, pool: str):
    """Return an ioctx that lives as long as *test*."""
    opened = test.pool(pool)
    ioctx = opened.__enter__()
    test.addCleanup(opened.__exit__, None, None, None)
    return ioctx
