# SPDX-License-Identifier: Apache-2.0
"""A process whose threads call rbdcloner-manager, as nova-compute would."""

from __future__ import annotations

from collections.abc import Callable
import sys
from typing import Any

from oslo_config import cfg
from oslo_context import context

from tests.bench import child
from tests.bench import measuring

TIMEOUT_S = 60


def prepare() -> Callable[..., measuring.Block]:
    """Return what calls the managers that a configuration file names."""
    # Importing oslo.messaging would choose eventlet.
    from oslo_service import backend

    backend.init_backend(backend.BackendType.THREADING)
    from rbdcloner import conf as options
    from rbdcloner import rpcapi

    options.register(cfg.CONF)
    options.load(cfg.CONF, [], [sys.argv[1]])
    api = rpcapi.API.from_conf(cfg.CONF, timeout_s=TIMEOUT_S)

    def act(
        method: str, calls: list[dict[str, Any]], threads: int
    ) -> measuring.Block:
        def once(arguments: dict[str, Any]) -> None:
            caller = context.RequestContext(
                project_id=arguments.get('project_id')
            )
            getattr(api, method)(caller, **arguments)

        return measuring.measure(once, calls, threads)

    return act


if __name__ == '__main__':
    child.serve(prepare)
