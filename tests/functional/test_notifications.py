# SPDX-License-Identifier: Apache-2.0
"""A deletion in Glance is followed at once where Glance tells of it."""

import contextlib
import pathlib
import tempfile
import time
from typing import ClassVar
import uuid

import rbd

from rbdcloner import rpcapi
from tests import stack
from tests.functional import service
from tests.functional.service import GOLDEN
from tests.stack import glance
from tests.stack import process

NEVER_S = 24 * 3600
#: Much sooner than any look of the survey or the reaper.
AT_ONCE_S = 10


class ToldTest(service.ServiceTest):
    """A manager of a Glance that tells, in the pools of the others.

    The others' Glance is silent: what nobody reads would grow.
    """

    pool_name: ClassVar[str] = 'rbdcloner-notifications'
    listens: ClassVar[dict[str, object]] = {}
    survey_interval: ClassVar[int] = NEVER_S
    glance: ClassVar[glance.Glance]
    topic: ClassVar[str]

    @classmethod
    def setUpClass(cls) -> None:
        servers = stack.shared()
        folder = tempfile.TemporaryDirectory(prefix='rbdcloner-', dir='/tmp')
        cls.addClassCleanup(folder.cleanup)
        cls.topic = f'images-{uuid.uuid4().hex[:8]}'
        cls.glance = glance.Glance(
            pathlib.Path(folder.name) / 'stack',
            servers.ceph,
            conf={
                'DEFAULT': {'transport_url': servers.rabbitmq.url},
                'oslo_messaging_notifications': {
                    'driver': 'messagingv2',
                    'topics': cls.topic,
                },
            },
        )
        cls.glance.setUp()
        cls.addClassCleanup(cls.glance.cleanUp)
        # The exchange is Glance's: who comes second is refused.
        cls.glance.delete(cls.glance.upload('first', b'x').id)
        url = cls.glance.url
        cls.options = {
            'DEFAULT': {
                'survey_interval': cls.survey_interval,
                'recovery_interval': NEVER_S,
            },
            'glance': {'endpoint': url, 'endpoint_override': url},
            'notifications': {'topics': cls.topic, **cls.listens},
        }
        super().setUpClass()
        cls.addClassCleanup(cls.forget_topic)
        cls.wait_listening()

    @classmethod
    def forget_topic(cls) -> None:
        with contextlib.suppress(stack.StackError):
            cls.servers.rabbitmq.ctl('delete_queue', f'{cls.topic}.info')

    @classmethod
    def queue(cls, name: str) -> tuple[int, int]:
        """Return a queue's messages and consumers."""
        listed = cls.servers.rabbitmq.ctl(
            'list_queues',
            'name',
            'messages',
            'consumers',
            '--no-table-headers',
        )
        for line in listed.splitlines():
            found, *counts = line.split('\t')
            if found == name:
                return int(counts[0]), int(counts[1])
        return 0, 0

    @classmethod
    def wait_said(cls, what: str, times: int) -> None:
        process.wait_until(
            lambda: cls.manager.output.count(what) == times, what
        )

    @classmethod
    def wait_listening(cls) -> None:
        queue = cls.pool_name or f'{cls.topic}.info'
        process.wait_until(lambda: cls.queue(queue)[1] == 2, 'two listeners')

    def boot(self) -> rpcapi.Disk:
        """Return a disk of a new image of this Glance's."""
        return self.create(image_id=self.glance.upload('told', GOLDEN).id)

    def assert_followed(self, disk: rpcapi.Disk) -> None:
        """Assert that the image of *disk*, deleted now, is followed."""
        image_id = disk['parent']['image']
        self.glance.delete(image_id)
        adopted = f"kind = 'adopted' AND name = '{image_id}'"
        self.assert_becomes(
            [(image_id, 'retired')], lambda: self.rows(adopted), AT_ONCE_S
        )
        self.assertEqual(GOLDEN, self.read(disk, 0, len(GOLDEN)))
        self.api.delete_disk(self.ctxt, disk['name'], disk['pool'])
        self.assert_becomes(self.before, self.in_ceph, AT_ONCE_S)
        self.assert_becomes(
            [(image_id, 'deleted')], lambda: self.rows(adopted), AT_ONCE_S
        )
        with self.pool('images') as ioctx:
            self.assertNotIn(image_id, rbd.RBD().list(ioctx))


class PoolTest(ToldTest):
    """The managers share a queue; others have the topic's own."""

    def test_a_deleted_image_is_retired_at_once(self) -> None:
        self.assert_followed(self.boot())

    def test_an_image_without_disks_is_done_with_at_once(self) -> None:
        disk = self.boot()
        self.api.delete_disk(self.ctxt, disk['name'], disk['pool'])
        self.assert_becomes(self.before, self.in_ceph, AT_ONCE_S)
        image_id = disk['parent']['image']
        self.glance.delete(image_id)
        self.assert_becomes(
            [(image_id, 'deleted')],
            lambda: self.rows(f"name = '{image_id}'"),
            AT_ONCE_S,
        )

    def test_others_lose_nothing(self) -> None:
        told, _ = self.queue(f'{self.topic}.info')
        self.assert_followed(self.boot())
        after, _ = self.queue(f'{self.topic}.info')
        self.assertGreater(after, told)
        self.assert_becomes((0, 2), lambda: self.queue(self.pool_name))

    def test_deletions_are_followed_after_a_restart_of_the_broker(
        self,
    ) -> None:
        disk = self.boot()
        self.servers.rabbitmq.restart('rabbitmq')
        self.wait_listening()
        self.assert_followed(disk)

    def test_managers_end_while_they_listen(self) -> None:
        daemon = self.manager.daemons[self.manager.name]
        began = time.monotonic()
        daemon.stop(timeout_s=30)
        self.assertLess(time.monotonic() - began, 10)
        said = self.manager.output
        self.assertEqual(2, said.count('has finished'))
        self.assertNotIn('Traceback', said)
        daemon.start()
        self.wait_listening()


class OwnTopicTest(ToldTest):
    """The topic is for the managers alone."""

    pool_name = ''
    listens: ClassVar[dict[str, object]] = {'pool': ''}

    def test_nothing_is_left_in_its_queue(self) -> None:
        self.assert_followed(self.boot())
        self.assert_becomes((0, 2), lambda: self.queue(f'{self.topic}.info'))


class UnlikeGlanceTest(ToldTest):
    """The broker refuses us: Glance's exchange is of another kind."""

    listens: ClassVar[dict[str, object]] = {'rabbit_quorum_queue': True}

    @classmethod
    def wait_listening(cls) -> None:
        cls.wait_said("Glance's notifications cannot be had", 2)

    def test_glance_and_the_managers_work_on(self) -> None:
        disk = self.boot()
        self.glance.delete(disk['parent']['image'])
        self.assertIn('Compare [notifications]', self.manager.output)


class SilentTest(ToldTest):
    """Nobody listens: the survey finds it."""

    listens: ClassVar[dict[str, object]] = {'topics': ''}
    survey_interval = 1

    @classmethod
    def wait_listening(cls) -> None:
        """Nobody does."""

    def test_a_deleted_image_is_retired_by_the_next_look(self) -> None:
        self.assert_followed(self.boot())
        self.assertNotIn('listened to', self.manager.output)
