# SPDX-License-Identifier: Apache-2.0
"""A client of Ceph that does one act when it is told, to be killed in it."""

import sys

from rbdcloner.ceph.librbd import LibrbdDriver
from rbdcloner.model import CloneFormat
from rbdcloner.model import Image


def main() -> None:
    conf, user, number, act, *nouns = sys.argv[1:]
    parent_pool, parent_name, pool, name, image_id = nouns
    clone_format = CloneFormat(int(number))
    driver = LibrbdDriver(conf, user, 5, clone_format)
    driver.connect()
    child = Image(driver.fsid, pool, '', name, image_id)
    parent = driver.find_snapshot(parent_pool, '', parent_name, 'snap')
    sys.stdout.write('.')
    sys.stdout.flush()
    sys.stdin.read(1)
    if act == 'clone':
        driver.clone(parent.snapshot, child, clone_format, 22)
    else:
        driver.trash(child)
        driver.purge(child)
    # To be killed, not to end: an end disconnects.
    sys.stdin.read()


if __name__ == '__main__':
    main()
