# SPDX-License-Identifier: Apache-2.0
"""How a program of qemu's gets to an image: as we do, in its own process.

qemu has no options for Ceph's settings. librados takes them from an
environment variable, in whatever program, and a program without our timeouts
waits for a dead cluster for ever.

It is told to use no cache. With one, what it wrote is not on the disks yet
when it hears that it is; and whatever the timeouts, after a minute it still
waited for an OSD that was stopped (qemu 7.2, librbd 16.2).

Rejected: qemu's file names of the form ``rbd:``, which can hold settings;
they are deprecated (https://www.qemu.org/docs/master/about/deprecated.html).
And a configuration file of our own, as there is nothing in Ceph's that takes
in another.
"""

from collections.abc import Mapping
import os

from rbdcloner.model import Image
from rbdcloner.model import QemuTarget

#: Settings in the form of a command line; read by librados itself.
_VARIABLE = 'CEPH_ARGS'


def target(
    image: Image, conffile: str, client: str, settings: Mapping[str, str]
) -> QemuTarget:
    """Return how a program of qemu's writes into *image*, as *client*."""
    options = {
        'driver': 'rbd',
        'pool': image.pool,
        'namespace': image.namespace,
        'image': image.name,
        'conf': conffile,
        'user': client.removeprefix('client.'),
        'cache.direct': 'on',
    }
    if not image.namespace:
        del options['namespace']
    # What an operator has put there holds for us, too.
    arguments = os.environ.get(_VARIABLE, '').split()
    arguments += [f'--{name}={value}' for name, value in settings.items()]
    return QemuTarget(options, {_VARIABLE: ' '.join(arguments)})
