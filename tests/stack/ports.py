# SPDX-License-Identifier: Apache-2.0
"""TCP ports of 127.0.0.1 that nobody else will be given.

A port is claimed by binding an abstract unix socket named after it, which the
kernel makes unique on the machine and frees when this process ends. Ports come
from below the ephemeral range, so that no outgoing connection takes one
between the claim and the server's own bind.
"""

import errno
import random
import socket

_LOWEST = 12000
_HIGHEST = 32000
_claims: list[socket.socket] = []


def claim() -> int:
    """A port that is free now and that no other stack will be given."""
    for port in random.sample(range(_LOWEST, _HIGHEST), 1000):
        if _take(port):
            return port
    raise OSError(errno.EADDRINUSE, 'no free port on 127.0.0.1')


def _take(port: int) -> bool:
    name = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        name.bind(f'\0rbdcloner-port-{port}')
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(('127.0.0.1', port))
    except OSError:
        name.close()
        return False
    _claims.append(name)
    return True


def is_open(port: int) -> bool:
    """Whether something listens on the port."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(('127.0.0.1', port)) == 0
