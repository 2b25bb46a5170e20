# SPDX-License-Identifier: Apache-2.0
"""A program under eventlet that calls managers from green threads.

It is given a configuration file and a number of calls, and prints as JSON how
many were answered and how often another green thread ran meanwhile.
"""

import eventlet

eventlet.monkey_patch()

import json  # noqa: E402
import sys  # noqa: E402

from oslo_config import cfg  # noqa: E402

from rbdcloner import conf as options  # noqa: E402
from rbdcloner import rpcapi  # noqa: E402
from tests.stack import manager  # noqa: E402


def main(path: str, count: int) -> None:
    """Call, and tell what came of it."""
    options.register(cfg.CONF)
    options.load(cfg.CONF, [], [path])
    api = rpcapi.API.from_conf(cfg.CONF, timeout_s=60)
    ctxt = manager.caller()
    ticks = []

    def tick() -> None:
        while True:
            ticks.append(1)
            eventlet.sleep(0.001)

    ticker = eventlet.spawn(tick)
    pool = eventlet.GreenPool(16)
    answers = list(pool.imap(lambda _: api.ping(ctxt), range(count)))
    ticker.kill()
    fsids = {each['fsid'] for each in answers}
    print(
        json.dumps(
            {
                'answers': len(answers),
                'fsids': sorted(fsids),
                'ticks': len(ticks),
            }
        )
    )


if __name__ == '__main__':
    main(sys.argv[1], int(sys.argv[2]))
