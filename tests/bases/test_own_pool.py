# SPDX-License-Identifier: Apache-2.0
"""Bases in a pool of their own, with no more than the keys of the README."""

from typing import ClassVar

import rbd

from tests import stack
from tests.bases import test_bases
from tests.functional import cloud
from tests.stack import reading

POOL = 'bases'
USER = 'bases-pool'
READER = 'client.bases-reader'


class OwnPoolTest(test_bases.BasesTest):
    options: ClassVar[dict[str, dict[str, object]]] = {
        'DEFAULT': test_bases.EAGER,
        'ceph': {'user': USER},
        'imports': {'pool': POOL},
    }

    @classmethod
    def setUpClass(cls) -> None:
        ceph = stack.shared().ceph
        ceph.create_pool(POOL)
        cls.addClassCleanup(ceph.delete_pool, POOL)
        for user, caps in (
            (f'client.{USER}', f'{cloud.CAPS}, profile rbd pool={POOL}'),
            (
                READER,
                f'profile rbd pool=vms, profile rbd-read-only pool={POOL}',
            ),
        ):
            ceph.user(user, mon='profile rbd', osd=caps)
        super().setUpClass()

    def in_ceph(self) -> set[str]:
        with self.pool(POOL) as ioctx:
            bases = set(rbd.RBD().list(ioctx))
        return super().in_ceph() | bases | self.trash(POOL)

    def test_disk_is_read_through_it_and_it_goes_when_nobody_does(
        self,
    ) -> None:
        image_id = self.image('qcow2')
        disk = self.create(image_id)
        self.assertEqual(POOL, disk['parent']['pool'])
        with (
            self.servers.ceph.connection(READER) as reader,
            reader.open_ioctx('vms') as ioctx,
            reading.opened(ioctx, disk['name']) as opened,
        ):
            self.assertEqual(self.data, opened.read(0, len(self.data)))
        self.servers.glance.delete(image_id)
        self.api.delete_disk(self.ctxt, disk['name'], 'vms')
        self.assert_becomes(self.before, self.in_ceph)
