# SPDX-License-Identifier: Apache-2.0
"""Which notifications are followed, and what comes of those that cannot be.

A real Glance and a real broker are in the functional tests.
"""

import logging

import fixtures
from oslo_config import cfg
import testtools

from rbdcloner import conf as options
from rbdcloner import errors
from rbdcloner import notifications


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
