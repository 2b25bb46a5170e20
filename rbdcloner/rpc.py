# SPDX-License-Identifier: Apache-2.0
"""What both ends of the wire agree on, and what may cross it."""

import dataclasses
import math
import socket
from typing import Any
from typing import Self

from oslo_config import cfg
import oslo_messaging as messaging

from rbdcloner import errors

#: Our own: nova-compute's is its own, too.
EXCHANGE = 'rbdcloner'
TOPIC = 'rbdcloner'
VERSION = '1.3'

#: Of which kind queues and exchange are, unless a manager was told otherwise.
QUEUES = {'amqp_auto_delete': 'false', 'rabbit_quorum_queue': 'true'}

#: Of an id in a request's context; a UUID has less.
_MAX_TEXT = 64

#: For the group [upgrade_levels], as OpenStack's services name it.
UPGRADE_LEVELS: list[cfg.Opt] = [
    cfg.StrOpt(
        'rbdcloner',
        help='The RPC version that all managers of the cloud know, such as '
        '"1.0", while they are being upgraded: clients send nothing newer.',
    ),
]

#: What may be raised from a remote error, and nothing else.
ERRORS_FROM = ('rbdcloner.errors',)


def transport(
    conf: cfg.ConfigOpts, url: str | None = None
) -> messaging.Transport:
    """Return the transport that *conf*'s ``transport_url`` names.

    With *url*, *conf* is another service's: that names the broker, or nothing
    if it is the same. RabbitMQ knows one kind of a queue and of an exchange,
    and refuses whoever declares it otherwise; so it is not *conf* that says
    of which kind ours are, but *url*'s query.

    :raises ConfigurationError: it names no broker.
    """
    try:
        parsed = messaging.TransportURL.parse(conf, url)
        if url is not None and parsed.transport == 'rabbit':
            parsed.query = QUEUES | parsed.query
        return messaging.get_rpc_transport(
            conf, parsed, allowed_remote_exmods=list(ERRORS_FROM)
        )
    except (
        cfg.NoSuchOptError,
        messaging.DriverLoadFailure,
        messaging.InvalidTransportURL,
        ValueError,
    ):
        # What these say may have the password.
        raise errors.ConfigurationError(
            problem='"transport_url" is not the URL of a message broker',
            remedy='Set it to rabbit://USER:PASSWORD@HOST:5672/',
        ) from None


def check_hosts(conf: cfg.ConfigOpts, url: str | None = None) -> None:
    """Make sure that a host has an address of those that *url* names.

    It may take a while. What a name server cannot tell just now may be all
    right.

    :raises ConfigurationError: none has.
    """
    hosts = messaging.TransportURL.parse(conf, url).hosts
    names = [host.hostname for host in hosts if host.hostname]
    if names and len(names) == len(hosts) and not any(map(_may_be, names)):
        raise errors.ConfigurationError(
            problem=f'No host has the name {" or ".join(names)}',
            remedy='Correct "transport_url"',
        )


def _may_be(name: str) -> bool:
    """Tell whether a host may have the name."""
    try:
        socket.getaddrinfo(name, None)
    except socket.gaierror as exc:
        return exc.errno not in (socket.EAI_NONAME, socket.EAI_NODATA)
    except UnicodeError:
        return False
    return True


def client(
    transport: messaging.Transport,
    version_cap: str | None,
    retry: int | None = None,
) -> messaging.RPCClient:
    """Return a client of any manager.

    *retry* is how often it connects again before a send fails: without end,
    unless said.
    """
    return messaging.get_rpc_client(
        transport,
        messaging.Target(exchange=EXCHANGE, topic=TOPIC, version=VERSION),
        version_cap=version_cap,
        retry=retry,
    )


@dataclasses.dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, and for how long: a request's context on the wire."""

    request_id: str | None = None
    project_id: str | None = None
    call_id: str = ''
    """The same each time that a call is sent; empty: it is sent once."""
    patience_s: float = math.inf
    """How long the request may wait in a manager before it is begun."""
    after: int | None = None
    """The number of the last request that the caller knows of.

    A deletion, for what is created; any request for the disk, for a change.
    """

    def pack(self) -> dict[str, Any]:
        """Return it as JSON can have it."""
        packed = dataclasses.asdict(self)
        if math.isinf(self.patience_s):
            del packed['patience_s']
        return packed

    @classmethod
    def unpack(cls, given: object) -> Self:
        """Return who a request says it is from; what is nonsense is left out.

        It decides how long the request may wait, and whether it is too late.
        """
        facts = given if isinstance(given, dict) else {}
        texts = {
            key: facts[key][:_MAX_TEXT]
            for key in ('request_id', 'project_id', 'call_id')
            if isinstance(facts.get(key), str)
        }
        after = facts.get('after')
        if not isinstance(after, int) or not 0 <= after < 2**63:
            after = None
        patience_s = facts.get('patience_s')
        # Neither is what is no number at all.
        if not (isinstance(patience_s, int | float) and patience_s > 0):
            patience_s = math.inf
        return cls(patience_s=patience_s, after=after, **texts)
