# SPDX-License-Identifier: Apache-2.0
"""A client and a server of our RPC in one process, without a broker.

oslo.messaging's fake transport has no connections to lose; what is about
those is in the functional tests.
"""

import math
from typing import Any

from oslo_config import cfg
import oslo_messaging as messaging
import testtools

from rbdcloner import admission
from rbdcloner import calling
from rbdcloner import dispatch
from rbdcloner import rpc
from tests.unit.test_notifications import read_nothing


class WireTest(testtools.TestCase):
    """Calls a method ``work`` of an endpoint."""

    def setUp(self) -> None:
        super().setUp()
        read_nothing(self)

        self.transport = messaging.get_rpc_transport(cfg.CONF, url='fake://')
        self.addCleanup(self.transport.cleanup)

    def serve(
        self, endpoint: object, threads: int = 4, places: int = 8
    ) -> None:
        """Answer until the test ends."""
        server = dispatch.listen(
            self.transport,
            endpoint,
            'host',
            admission.Admission(threads, places),
            {'creations': {'make'}, 'removals': {'destroy'}},
        )
        server.start(override_pool_size=threads)
        self.addCleanup(server.wait)
        self.addCleanup(server.stop)

    def client(
        self, timeout_s: float = 20, silence_s: float = math.inf
    ) -> calling.Calls:
        """Return a client of it."""
        return calling.Calls(
            lambda: self.transport, None, timeout_s, silence_s
        )

    def call(
        self, calls: calling.Calls, method: str = 'work', **arguments: Any
    ) -> Any:
        """Call a method as a client does."""
        return calls.make(
            calling.Request(
                rpc.Caller('req', 'proj'), method, '1.0', arguments
            )
        )
