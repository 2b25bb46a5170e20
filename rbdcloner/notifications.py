# SPDX-License-Identifier: Apache-2.0
"""Glance's word that it deleted an image, heard at once; and ours of imports.

The survey finds the same without it, only later: so nothing here is tried
again, and nothing waits for the broker that Glance sends to. Who hears of our
imports may miss some, too: the rows are the truth.
"""

from collections.abc import Callable
from collections.abc import Sequence
import contextlib
import logging
import queue
import threading
from typing import Any

from oslo_config import cfg
import oslo_messaging as messaging
from oslo_messaging.notify.listener import NotificationServer

from rbdcloner import errors
from rbdcloner import model

LOG = logging.getLogger(__name__)

#: What a worker is given at once: all of it is done before it ends.
_PREFETCHED = 16
#: What is at work when the listener is stopped ends within that.
_PATIENCE_S = 3.0
#: Events that wait for a broker; with more of them the oldest is lost.
_KEPT = 256


def transport(
    conf: cfg.ConfigOpts, url: str, durable_queues: bool, quorum_queues: bool
) -> messaging.Transport:
    """Return the transport of *url*, of ``transport_url`` if that is empty.

    RabbitMQ knows one kind of an exchange: it refuses whoever declares it
    otherwise than it was first, be that us or Glance, whose calls then hang.

    :raises messaging.MessagingException: *url* is not one.
    """
    parsed = messaging.TransportURL.parse(conf, url)
    parsed.query = {
        'amqp_durable_queues': str(durable_queues),
        'rabbit_quorum_queue': str(quorum_queues),
        'rabbit_qos_prefetch_count': str(_PREFETCHED),
    } | parsed.query
    return messaging.get_notification_transport(conf, parsed)


def server(
    sent: messaging.Transport,
    exchange: str,
    topics: Sequence[str],
    pool: str,
    follow: Callable[[str], object],
) -> NotificationServer:
    """Return what calls *follow* with the id of each deleted image.

    Those who listen with one *pool* share the notifications; without one, the
    topics' own queues.
    """
    targets = [messaging.Target(exchange=exchange, topic=t) for t in topics]
    return messaging.get_notification_listener(
        sent, targets, [Deletions(follow)], pool=pool or None
    )


def sender(
    conf: cfg.ConfigOpts, host: str
) -> Callable[[str, model.Base], None]:
    """Return what notifies of an import: of an event's name, and the base.

    By the drivers of [oslo_messaging_notifications]; without one, nobody.
    """
    if not conf.oslo_messaging_notifications.driver:
        return lambda event, base: None
    return Teller(
        lambda: messaging.Notifier(
            messaging.get_notification_transport(conf), f'rbdcloner.{host}'
        )
    ).tell


class Teller:
    """Tells of imports in a thread of its own, which may wait for its broker.

    An import must not: oslo.messaging tries for ever to deliver a
    notification, and a lease is renewed by who tells how far it is.
    """

    def __init__(self, connect: Callable[[], messaging.Notifier]) -> None:
        self._connect = connect
        self._waiting: queue.Queue[tuple[str, model.Base]] = queue.Queue(_KEPT)
        self._begins = threading.Lock()
        self._thread: threading.Thread | None = None

    def tell(self, event: str, base: model.Base) -> None:
        """Have it told, some time."""
        if not self._begun().is_alive():
            return
        while True:
            try:
                self._waiting.put_nowait((event, base))
                return
            except queue.Full:
                self._lose_one()

    def _begun(self) -> threading.Thread:
        with self._begins:
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name='telling', daemon=True
                )
                self._thread.start()
            return self._thread

    def _lose_one(self) -> None:
        with contextlib.suppress(queue.Empty):
            event, base = self._waiting.get_nowait()
            LOG.warning(
                'Nobody is told of the %s of the import of %s: the broker of '
                '[oslo_messaging_notifications] takes nothing', event, base,
            )  # fmt: skip

    def _run(self) -> None:
        try:
            notifier = self._connect()
        except messaging.MessagingException as exc:
            # Of an invalid url the error says the password, too.
            LOG.error(
                'Nobody is told of imports: correct "transport_url" in '
                '[oslo_messaging_notifications] (%s)', type(exc).__name__,
            )  # fmt: skip
            return
        while True:
            _send(notifier, *self._waiting.get())


def _send(notifier: messaging.Notifier, event: str, base: model.Base) -> None:
    tell = notifier.error if event == 'error' else notifier.info
    try:
        tell({}, f'rbdcloner.import.{event}', _told(base))
    except Exception as exc:
        # It lets kombu's and amqp's own errors pass.
        LOG.warning('Nobody is told of %s: %s', base, type(exc).__name__)


def _told(base: model.Base) -> dict[str, Any]:
    return {
        'uuid': base.uuid,
        'image_id': base.glance_image_id,
        'checksum': base.checksum,
        'state': str(base.state),
        'way': str(base.way),
        'done_bytes': base.done_bytes,
        'total_bytes': base.total_bytes,
        'reason': base.reason,
    }


class Deletions:
    """What oslo.messaging calls: a method for a priority, Glance's "info"."""

    filter_rule = messaging.NotificationFilter(event_type=r'^image\.delete$')

    def __init__(self, follow: Callable[[str], object]) -> None:
        self._follow = follow

    def info(
        self,
        context: Any,
        publisher_id: str,
        event_type: str,
        payload: Any,
        metadata: Any,
    ) -> None:
        """Follow the deletion of the image that *payload* names."""
        image_id = payload.get('id') if isinstance(payload, dict) else None
        if not isinstance(image_id, str) or not image_id:
            LOG.warning('A deletion by %s names no image', publisher_id)
            return
        try:
            self._follow(image_id)
        except errors.Error as exc:
            LOG.warning(
                'The deletion of image %s is left to the survey: %s',
                image_id, exc,
            )  # fmt: skip


class Listener:
    """Listens in a thread of its own, which may wait for its broker."""

    def __init__(self, connect: Callable[[], NotificationServer]) -> None:
        self._connect = connect
        self._stopping = threading.Event()
        # Without a broker oslo.messaging neither starts nor stops.
        self._thread = threading.Thread(
            target=self._listen, name='notifications', daemon=True
        )

    def start(self) -> None:
        """Begin, as soon as there is a broker."""
        self._thread.start()

    def stop(self) -> None:
        """Take nothing more, from soon on."""
        self._stopping.set()

    def wait(self) -> None:
        """Wait until what was begun has ended, for seconds."""
        self._thread.join(_PATIENCE_S)

    def _listen(self) -> None:
        try:
            connected = self._connect()
            connected.start()
        except messaging.InvalidTransportURL:
            # The error says the password, too.
            LOG.error('Correct "transport_url" in [notifications]')
            return
        except messaging.MessagingException as exc:
            LOG.error(
                "Glance's notifications cannot be had: %s. Compare "
                "[notifications] with Glance's [oslo_messaging_rabbit]; the "
                'survey goes on', exc,
            )  # fmt: skip
            return
        LOG.info("Glance's notifications are listened to")
        self._stopping.wait()
        connected.stop()
        connected.wait()
