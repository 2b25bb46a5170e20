# SPDX-License-Identifier: Apache-2.0
"""A parent that is taken and given back at once, by two workers."""

from concurrent import futures
import contextlib
import threading
from typing import Any
import uuid

import pytest
import rbd

from rbdcloner import errors
from rbdcloner.cmd import compose
from rbdcloner.model import DiskRequest
from rbdcloner.model import Order
from rbdcloner.model import Warrant
from rbdcloner.states import State
from tests.functional import service

#: Pairs of workers' threads, each with a parent of its own.
PAIRS = 4
ROUNDS = 250

_ASKED = Warrant(Order.CALLER, 'a test', 'a request')


class CreateAndReleaseTest(service.ServiceTest):
    """Under format v1, where the service protects the parent for a child."""

    database = 'mariadb'
    options = {'ceph': {'clone_format': 1}}  # noqa: RUF012

    @pytest.mark.timeout(2700)
    def test_no_child_is_ever_without_its_parent(self) -> None:
        """A thousand times."""
        conf = self.manager.load_conf()
        rooms = []
        for name in ('creator', 'releaser'):
            driver, found = compose.service(conf, compose.lineage(conf), name)
            self.addCleanup(driver.close)
            rooms.append(found)
        upload = self.servers.glance.upload
        images = [upload('open', b'open').id for _ in range(PAIRS)]
        with futures.ThreadPoolExecutor(PAIRS) as pairs:
            for done in [
                pairs.submit(self._take_and_give_back, image_id, *rooms)
                for image_id in images
            ]:
                done.result()

    def _take_and_give_back(
        self, image_id: str, creator: Any, releaser: Any
    ) -> None:
        with (
            self.pool('images') as ioctx,
            rbd.Image(ioctx, image_id) as image,
            futures.ThreadPoolExecutor(1) as thread,
        ):
            image.unprotect_snap('snap')
            image.set_snap('snap')
            engine = creator.manager.engine
            request = self._request(image_id)
            engine.remove(engine.create_disk(request), _ASKED)
            barrier = threading.Barrier(2)
            for _ in range(ROUNDS):
                releasing = thread.submit(
                    self._release, releaser, image_id, barrier
                )
                barrier.wait()
                disk = engine.create_disk(request)
                releasing.result()
                self.assertIs(State.READY, disk.state)
                self.assertTrue(image.is_protected_snap('snap'))
                self.assertEqual(
                    [('vms', disk.image.name)], list(image.list_children())
                )
                engine.remove(disk, _ASKED)
                creator.reaper.sweep()

    def _request(self, image_id: str) -> DiskRequest:
        return DiskRequest(
            image_id=image_id,
            pool='vms',
            name=f'{uuid.uuid4()}_disk',
            size_bytes=service.MIB,
            instance_uuid=str(uuid.uuid4()),
            project_id=service.PROJECT,
            host='here',
        )

    def _release(
        self, releaser: Any, image_id: str, barrier: threading.Barrier
    ) -> None:
        (parent,) = releaser.manager.engine.lineage.parents(
            glance_image_id=image_id
        )
        barrier.wait()
        with contextlib.suppress(errors.Error):
            releaser.recovery.releaser.release(parent)
