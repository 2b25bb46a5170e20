# SPDX-License-Identifier: Apache-2.0
"""A parent that is taken and given back at once, by two processes."""

from concurrent import futures
import contextlib
import threading

import testtools

from rbdcloner import errors
from rbdcloner.model import CloneFormat
from rbdcloner.states import State
from tests.unit.cloning import service
from tests.unit.cloning.service import Service

ROUNDS = 100


class CreateAndReleaseTest(testtools.TestCase):
    def test_no_child_is_ever_without_its_parent(self) -> None:
        """Under format v1, where the parent is protected by the service."""
        with (
            Service(CloneFormat.V1) as world,
            futures.ThreadPoolExecutor(2) as threads,
        ):
            image_id = world.add_image(protected=False)
            creator, releaser = world.process(), world.process()
            barrier = threading.Barrier(2)
            request = service.request(image_id)
            creator.engine.remove(
                creator.engine.create_disk(request), service.ASKED
            )
            creator.sweep_until_quiet()

            def create():
                barrier.wait()
                return creator.engine.create_disk(request)

            def release() -> None:
                barrier.wait()
                with contextlib.suppress(errors.Error):
                    releaser.recovery.releaser.release(parent)

            for _ in range(ROUNDS):
                (parent,) = releaser.lineage.parents(glance_image_id=image_id)
                creating = threads.submit(create)
                threads.submit(release).result()
                disk = creating.result()
                self.assertIs(State.READY, disk.state)
                facts = world.ceph.find_snapshot(
                    'images', '', image_id, 'snap'
                )
                self.assertTrue(facts.protected)
                self.assertEqual(
                    [disk.image], world.ceph.children(facts.snapshot)
                )
                creator.engine.remove(disk, service.ASKED)
                creator.reaper.sweep()
