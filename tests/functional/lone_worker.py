# SPDX-License-Identifier: Apache-2.0
"""A worker that is handed its requests by a test, and says where it is.

``python -m tests.functional.lone_worker FILE`` reads requests for disks as
lines of JSON; it writes ``in`` and ``out`` around librbd's clone, and for
each request ``READY`` or the error's name.
"""

import json
import sys
from typing import Any

from oslo_config import cfg
import rbd

from rbdcloner import conf as options
from rbdcloner import errors
from rbdcloner.cmd import compose
from rbdcloner.model import DiskRequest


def main() -> None:
    """Answer until the input ends."""
    conf = cfg.CONF
    options.register(conf)
    options.load(conf, [], [sys.argv[1]])
    clone = rbd.RBD.clone

    class Told(rbd.RBD):  # type: ignore[misc]
        """librbd, which tells when it clones."""

        def clone(self, *given: Any, **named: Any) -> None:
            print('in', flush=True)
            clone(self, *given, **named)
            print('out', flush=True)

    rbd.RBD = Told
    owner = compose.owner()
    driver, rooms = compose.service(conf, compose.lineage(conf), owner)
    print(owner, flush=True)
    for line in sys.stdin:
        request = DiskRequest(**json.loads(line))
        try:
            made = rooms.manager.engine.create_disk(request)
        except errors.Error as exc:
            print(exc.name, flush=True)
        else:
            print(made.state.name, flush=True)
    driver.close()


if __name__ == '__main__':
    main()
