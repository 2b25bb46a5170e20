# SPDX-License-Identifier: Apache-2.0
"""A client of Ceph that opens an image and closes it at once, many times."""

import sys

from rbdcloner.ceph import looking
from rbdcloner.ceph.connection import Connections
from rbdcloner.model import CloneFormat
from rbdcloner.model import Image


def main() -> None:
    conf, user, pool, image_id, times = sys.argv[1:]
    connections = Connections(conf, user, 30, CloneFormat.V2)
    with connections.use() as handle:
        image = Image(handle.fsid, pool, '', '', image_id)
        ioctx = handle.ioctx(pool)
        for _ in range(int(times)):
            with looking.opened(ioctx, image):
                continue


if __name__ == '__main__':
    main()
