# SPDX-License-Identifier: Apache-2.0
"""What every call needs: a connection, a deadline, a version."""

from collections.abc import Callable
import copy
import math
from typing import Any
from typing import Self

from oslo_config import cfg
from oslo_context import context
import oslo_messaging as messaging

from rbdcloner import calling
from rbdcloner import rpc

#: A caller has its answer, or an error's name, before that.
TIMEOUT_S = 120

Disk = dict[str, Any]


class Client:
    """Sends calls; which there are is said by those who inherit this."""

    def __init__(
        self,
        connect: Callable[[], messaging.Transport],
        version_cap: str | None = None,
        timeout_s: float = TIMEOUT_S,
        silence_s: float = math.inf,
    ) -> None:
        self._calls = calling.Calls(connect, version_cap, timeout_s, silence_s)

    @classmethod
    def from_conf(
        cls, conf: cfg.ConfigOpts, url: str | None = None, **settings: Any
    ) -> Self:
        """Return a client over the RabbitMQ that *conf* names.

        Another service's *conf* comes with a *url*, that names the broker of
        the managers, or is empty if they share one.
        ``[upgrade_levels] rbdcloner`` caps the version that it speaks.
        """
        conf.register_opts(rpc.UPGRADE_LEVELS, 'upgrade_levels')
        cap = conf.upgrade_levels.rbdcloner

        def connect() -> messaging.Transport:
            transport = rpc.transport(conf, url)
            rpc.check_hosts(conf, url)
            return transport

        return cls(connect, version_cap=cap, **settings)

    def within(self, timeout_s: float) -> Self:
        """Return a client over the same connection with that deadline."""
        other = copy.copy(self)
        other._calls = self._calls.within(timeout_s)
        return other

    def close(self) -> None:
        """Close this process's connections to the message broker.

        Those of every client that :meth:`within` returned, too, once their
        calls have ended. A later call opens new ones.
        """
        self._calls.close()

    def _call(
        self,
        ctxt: context.RequestContext,
        method: str,
        version: str = '1.0',
        **given: Any,
    ) -> Any:
        caller = rpc.Caller(ctxt.global_id, ctxt.project_id)
        return self._calls.make(
            calling.Request(caller, method, version, given)
        )
