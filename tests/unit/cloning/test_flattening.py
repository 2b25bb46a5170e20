# SPDX-License-Identifier: Apache-2.0
"""What is flattened in the background, how many at once, and how it stops."""

import threading

import testtools

from rbdcloner.model import Clone
from rbdcloner.model import Filters
from rbdcloner.model import Flatten
from rbdcloner.model import FlattenReason
from rbdcloner.states import FlattenState
from rbdcloner.states import State
from tests.unit.cloning import service
from tests.unit.cloning import tree


class FlattenerTest(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.service = self.useFixture(service.Service())
        self.ceph = self.service.ceph
        self.process = self.service.process()
        self.image_id = self.service.add_image()

    def want(self, clone: Clone, forced: bool = False) -> Flatten:
        return self.process.lineage.want_flatten(
            clone, FlattenReason.RELEASE, forced
        )

    def flatten(self) -> Flatten:
        (only,) = self.process.lineage.flattens()
        return only

    def test_flattened_disk_keeps_its_data_and_needs_no_parent(self) -> None:
        disk = tree.launch(self.process, self.image_id)
        self.want(disk)
        self.assertTrue(self.process.flattener.run_next())
        self.assertFalse(self.process.flattener.run_next())
        self.assertIs(FlattenState.DONE, self.flatten().state)
        self.assertFalse(tree.row(self.process, disk).attached)
        self.assertEqual(b'golden', self.ceph.read(disk.image, 0, 6))

    def test_running_guest_is_waited_for_unless_forced(self) -> None:
        disk = tree.launch(self.process, self.image_id)
        self.want(disk)
        with self.ceph.watch(disk.image):
            self.process.flattener.run_next()
            waiting = self.flatten()
            self.assertIs(FlattenState.WANTED, waiting.state)
            self.assertIsNotNone(waiting.retry_at)
            self.assertIn('RbdImageInUse', waiting.reason)
            self.want(disk, forced=True)
            tree.make_due(self.process)
            self.process.flattener.run_next()
        self.assertIs(FlattenState.DONE, self.flatten().state)

    def test_child_that_is_being_made_is_waited_for(self) -> None:
        def act(name: str, when: str) -> None:
            if (name, when) == ('clone', 'after'):
                self.want(self.process.lineage.page(Filters())[0])
                self.service.process().flattener.run_next()

        self.ceph.on_act = act
        disk = tree.launch(self.process, self.image_id)
        self.assertIs(State.READY, disk.state)
        self.assertIs(FlattenState.WANTED, self.flatten().state)

    def test_cancelled_while_it_runs_leaves_the_rest_uncopied(self) -> None:
        disk = tree.launch(self.process, self.image_id)
        wanted = self.want(disk)

        def act(name: str, when: str) -> None:
            if (name, when) == ('flatten', 'before'):
                self.process.lineage.cancel_flatten(wanted, 'not wanted')

        self.ceph.on_act = act
        self.assertTrue(self.process.flattener.run_next())
        self.assertIs(FlattenState.CANCELLED, self.flatten().state)

    def test_no_more_than_the_limit_run_in_all_processes(self) -> None:
        limit = self.process.flattener.limit
        for _ in range(limit + 2):
            self.want(
                self.process.engine.create_disk(service.request(self.image_id))
            )
        inside = threading.Barrier(limit + 1, timeout=20)
        finish = threading.Event()

        def act(name: str, when: str) -> None:
            if (name, when) == ('flatten', 'before'):
                inside.wait()
                finish.wait(20)

        self.ceph.on_act = act
        threads = [
            threading.Thread(target=self.service.process().flattener.run_next)
            for _ in range(limit)
        ]
        for thread in threads:
            thread.start()
        inside.wait()
        try:
            self.assertFalse(self.service.process().flattener.run_next())
        finally:
            finish.set()
            for thread in threads:
                thread.join()
        self.ceph.on_act = lambda name, when: None
        self.assertTrue(self.process.flattener.run_next())
