# SPDX-License-Identifier: Apache-2.0
"""A client of Ceph that acts when it is told, to be killed in it."""

from collections.abc import Callable
import sys

from rbdcloner.ceph.librbd import LibrbdDriver
from rbdcloner.model import CloneFormat
from rbdcloner.model import Image

MIB = 1 << 20

#: More than it gets to.
BLOCKS = 1024


def main() -> None:
    conf, user, number, names, *nouns = sys.argv[1:]
    parent_pool, parent_name, pool, name, image_id = nouns
    clone_format = CloneFormat(int(number))
    driver = LibrbdDriver(conf, user, 5, clone_format)
    driver.connect()
    child = Image(driver.fsid, pool, '', name, image_id)
    parent = driver.find_snapshot(parent_pool, '', parent_name, 'snap')
    own = [facts.snapshot for facts in driver.snapshots(child)]

    def write() -> None:
        with driver.open(child) as opened:
            opened.write((at * 4 * MIB, b'data') for at in range(BLOCKS))

    acts: dict[str, Callable[[], object]] = {
        'clone': lambda: driver.clone(
            parent.snapshot, child, clone_format, 22
        ),
        'create': lambda: driver.create(child, 2**20),
        'write': write,
        'trash': lambda: driver.trash(child),
        'purge': lambda: driver.purge(child),
        'restore': lambda: driver.restore(child),
        'flatten': lambda: driver.flatten(child, lambda done, total: True),
        'rollback': lambda: driver.rollback(own[0]),
        'remove_snapshot': lambda: driver.remove_snapshot(own[0]),
    }
    sys.stdout.write('.')
    sys.stdout.flush()
    sys.stdin.read(1)
    for act in names.split():
        acts[act]()
    # To be killed, not to end: an end disconnects.
    sys.stdin.read()


if __name__ == '__main__':
    main()
