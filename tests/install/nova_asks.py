# SPDX-License-Identifier: Apache-2.0
"""Run by the Python of a compute host, as user nova: ask for a disk.

Prints the names of the driver's class and of its image backend's, after the
disk was made, and found in Ceph with Nova's own key. Arguments: the name of
the disk, and what is asked for as JSON.
"""

import json
import sys

from nova import config
from nova import objects
from nova.virt import driver

FILES = ('/etc/nova/nova.conf', '/etc/nova/nova-compute.conf')


def main(name: str, asked: str) -> None:
    """Load the driver that is configured, and have a disk made."""
    # By its name a program finds the files that are its alone.
    sys.argv[0] = '/usr/bin/nova-compute'
    config.parse_args(
        ['nova-compute', *(f'--config-file={one}' for one in FILES)]
    )
    objects.register_all()
    loaded = driver.load_compute_driver(None)
    backend = loaded.image_backend.backend('rbd')
    # After the driver: it chooses what Nova's modules are replaced by.
    from rbdcloner.nova import asking
    from rbdcloner.nova import rbd_utils

    asking.service().ask('create_disk', **json.loads(asked))
    assert rbd_utils.RBDDriver().exists(name), f'no {name} in Ceph'
    print(type(loaded).__module__, backend.__module__)


if __name__ == '__main__':
    main(*sys.argv[1:])
