# SPDX-License-Identifier: Apache-2.0
"""Which notifications are followed, and what comes of those that cannot be.

A real Glance and a real broker are in the functional tests.
"""

import dataclasses
import logging
import queue
import socket
import threading
from typing import Any

import fixtures
from oslo_config import cfg
import oslo_messaging as messaging
import testtools

from rbdcloner import conf as options
from rbdcloner import errors
from rbdcloner import model
from rbdcloner import notifications
from rbdcloner.states import BaseState
from tests.unit.cloning import service
from tests.unit.cloning.service import MIB

PATIENCE_S = 30


def read_nothing(test: testtools.TestCase) -> None:
    """Give oslo.messaging's one configuration its defaults, for a test."""
    cfg.CONF.clear()
    options.register(cfg.CONF)
    cfg.CONF([], default_config_files=[])
    test.addCleanup(cfg.CONF.clear)


class DeletionTest(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.log = self.useFixture(fixtures.FakeLogger(level=logging.INFO))
        self.followed: list[str] = []

    def hear(self, payload: object, follow: object = None) -> None:
        deletions = notifications.Deletions(follow or self.followed.append)
        deletions.info({}, 'image.host', 'image.delete', payload, {})

    def test_the_image_is_followed(self) -> None:
        self.hear({'id': 'an-image', 'status': 'deleted'})
        self.assertEqual(['an-image'], self.followed)
        self.assertEqual('', self.log.output)

    def test_what_names_no_image_is_ignored_with_a_warning(self) -> None:
        for payload in (None, 'text', [], {}, {'id': None}, {'id': ''}):
            self.hear(payload)
        self.assertEqual([], self.followed)
        self.assertEqual(6, self.log.output.count('names no image'))

    def test_what_cannot_be_followed_is_left_to_the_survey(self) -> None:
        def fail(image_id: str) -> None:
            raise errors.DatabaseUnavailable(reason='down')

        self.hear({'id': 'an-image'}, fail)
        self.assertIn('an-image is left to the survey', self.log.output)
        self.assertNotIn('Traceback', self.log.output)

    def test_only_deletions_of_images_are_heard(self) -> None:
        rule = notifications.Deletions.filter_rule
        events = ['image.delete', 'image.deleted', 'image.create', '', None]
        events += ['image.member.delete', 'metadef_tag.delete']
        heard = [
            event
            for event in events
            if rule.match({}, 'image.host', event, {}, {})
        ]
        self.assertEqual(['image.delete'], heard)


class TransportTest(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        read_nothing(self)
        ours = 'rabbit://our:secret@127.0.0.1:1/'
        cfg.CONF.set_override('transport_url', ours)
        self.addCleanup(cfg.CONF.clear_override, 'transport_url')

    def query(self, url: str, quorum: bool = False) -> dict[str, str]:
        made = notifications.transport(cfg.CONF, url, False, quorum)
        self.addCleanup(made.cleanup)
        driver = made._driver
        self.host = driver._url.hosts[0].port
        return driver._url.query

    def test_queues_are_as_glances_whatever_ours_are(self) -> None:
        self.assertEqual('False', self.query('')['rabbit_quorum_queue'])
        self.assertTrue(cfg.CONF.oslo_messaging_rabbit.rabbit_quorum_queue)
        self.assertEqual(1, self.host)
        self.assertEqual('True', self.query('', True)['rabbit_quorum_queue'])

    def test_what_the_url_says_goes_first(self) -> None:
        url = 'rabbit://glances:secret@127.0.0.1:2/?rabbit_quorum_queue=1'
        self.assertEqual('1', self.query(url)['rabbit_quorum_queue'])
        self.assertEqual(2, self.host)

    def test_the_queue_of_our_calls_is_no_pool(self) -> None:
        conf = cfg.ConfigOpts()
        options.register(conf)
        conf([], default_config_files=[])
        for pool in ('rbdcloner', 'rbdcloner.host'):
            self.assertRaises(
                ValueError,
                conf.set_override, 'pool', pool, 'notifications',
            )  # fmt: skip


class ListenerTest(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.log = self.useFixture(fixtures.FakeLogger(level=logging.INFO))

    def test_a_bad_url_is_told_without_its_password(self) -> None:
        read_nothing(self)

        def connect() -> object:
            url = '//our:secret@127.0.0.1/'
            return notifications.transport(cfg.CONF, url, False, False)

        one = notifications.Listener(connect)
        one.start()
        one.stop()
        one.wait()
        self.assertIn('transport_url', self.log.output)
        self.assertNotIn('secret', self.log.output)


class ImportsTest(testtools.TestCase):
    """Imports that somebody is told of, or nobody."""

    def setUp(self) -> None:
        super().setUp()
        read_nothing(self)
        self.log = self.useFixture(fixtures.FakeLogger(level=logging.INFO))
        self.world = self.useFixture(service.Service())
        # Nobody is told more often than every ten seconds, else.
        self.useFixture(
            fixtures.MonkeyPatch(
                'rbdcloner.cloning.base_progress._NOTIFY_EVERY_S', 0
            )
        )
        self.heard: queue.Queue[tuple[str, str, dict[str, Any]]] = (
            queue.Queue()
        )

    def configure(self, **values: object) -> None:
        for name, value in values.items():
            group = 'oslo_messaging_notifications'
            cfg.CONF.set_override(name, value, group)
            self.addCleanup(cfg.CONF.clear_override, name, group)

    def listen(self) -> None:
        """Hear what is told, as any program does; without a broker."""
        self.configure(driver=['messagingv2'], transport_url='fake://')
        server = messaging.get_notification_listener(
            messaging.get_notification_transport(cfg.CONF),
            [messaging.Target(topic='notifications')],
            [self],
            executor='threading',
        )
        server.start()
        self.addCleanup(server.wait)
        self.addCleanup(server.stop)

    def info(self, *told: Any) -> None:
        self.heard.put(('info', *told[2:4]))

    def error(self, *told: Any) -> None:
        self.heard.put(('error', *told[2:4]))

    def next(self) -> tuple[str, str, dict[str, Any]]:
        """Return priority, event type and payload of what is heard next."""
        return self.heard.get(timeout=PATIENCE_S)

    def import_image(self, wanted: str = '', **facts: object) -> model.Base:
        """Have an image imported; what became of it.

        It is *wanted* with that checksum, if not with the one it has.
        """
        image_id = self.world.add_elsewhere(b'elsewhere' + bytes(MIB - 9))
        self.world.change_image(image_id, **facts)
        image = self.world.glance.get(image_id)
        process = self.world.process()
        process.lineage.want_base(
            self.world.ceph.fsid, image_id, wanted or image.checksum, MIB
        )
        importer = dataclasses.replace(
            process.importer, notify=notifications.sender(cfg.CONF, 'host')
        )
        self.assertTrue(importer.run_next())
        (base,) = process.lineage.bases(glance_image_id=image_id)
        return base

    def test_each_step_is_told_with_its_bytes(self) -> None:
        self.listen()
        base = self.import_image()
        self.assertIs(BaseState.READY, base.state)
        told = [self.next()]
        while told[-1][1] != 'rbdcloner.import.end':
            told.append(self.next())
        steps = [
            (priority, event, said['state'], said['done_bytes'])
            for priority, event, said in told
        ]
        # On a slow host there is more progress.
        self.assertEqual(
            [
                ('info', 'rbdcloner.import.start', 'running', 0),
                ('info', 'rbdcloner.import.progress', 'running', MIB),
                ('info', 'rbdcloner.import.end', 'ready', MIB),
            ],
            [steps[0], *steps[-2:]],
        )
        for _priority, _event, said in told:
            self.assertEqual(base.uuid, said['uuid'])
            self.assertEqual(base.glance_image_id, said['image_id'])
            self.assertEqual(base.checksum, said['checksum'])
            self.assertEqual(MIB, said['total_bytes'])
        self.assertEqual('stream', said['way'])

    def test_a_failure_is_told_as_an_error(self) -> None:
        self.listen()
        self.import_image(checksum='sha512:0')
        self.assertEqual('refused', self.next_error()['state'])

    def test_an_image_that_is_another_is_told_as_an_error(self) -> None:
        self.listen()
        self.import_image(wanted='sha512:0')
        said = self.next_error()
        self.assertEqual('dropped', said['state'])
        self.assertIn('is another by now', said['reason'])

    def next_error(self) -> dict[str, Any]:
        """Return what the next error says; others are passed over."""
        while True:
            priority, event, said = self.next()
            if priority == 'error':
                self.assertEqual('rbdcloner.import.error', event)
                return said

    def test_nobody_is_told_by_default(self) -> None:
        self.configure(transport_url='//nonsense')
        self.assertIs(BaseState.READY, self.import_image().state)
        self.assertNotIn('told', self.log.output)

    def test_a_broker_that_does_not_answer_stops_no_import(self) -> None:
        silent = socket.create_server(('127.0.0.1', 0))
        self.addCleanup(silent.close)
        silent.settimeout(PATIENCE_S)
        self.configure(
            driver=['messagingv2'],
            transport_url=f'rabbit://127.0.0.1:{silent.getsockname()[1]}/',
            # When the test ends nobody is to try again.
            retry=0,
        )
        self.assertIs(BaseState.READY, self.import_image().state)
        connection, _address = silent.accept()
        with connection:
            connection.settimeout(PATIENCE_S)
            self.assertEqual(b'AMQP', connection.recv(8)[:4])
            # Whoever tells waits for an answer; the import has not.
            connection.setblocking(False)
            self.assertRaises(BlockingIOError, connection.recv, 1)

    def test_a_broker_that_is_not_there_stops_no_import(self) -> None:
        with socket.create_server(('127.0.0.1', 0)) as closed:
            port = closed.getsockname()[1]
        self.configure(
            driver=['messagingv2'],
            transport_url=f'rabbit://127.0.0.1:{port}/',
            retry=0,
        )
        self.assertIs(BaseState.READY, self.import_image().state)

    def test_a_bad_url_stops_no_import(self) -> None:
        self.configure(
            driver=['messagingv2'], transport_url='//our:secret@127.0.0.1/'
        )
        for _ in range(2):
            self.assertIs(BaseState.READY, self.import_image().state)
        self.assertIn('transport_url', self.log.output)
        self.assertNotIn('secret', self.log.output)

    def test_what_waits_for_a_broker_is_bounded(self) -> None:
        base = self.import_image()
        there = threading.Event()
        self.addCleanup(there.set)

        def connect() -> messaging.Notifier:
            there.wait()
            raise messaging.MessagingException

        teller = notifications.Teller(connect)
        for number in range(notifications._KEPT + 2):
            teller.tell(f'event {number}', base)
        lost = self.log.output.count('Nobody is told of the event')
        self.assertEqual(2, lost)
        self.assertIn('event 1 of the import of base', self.log.output)
