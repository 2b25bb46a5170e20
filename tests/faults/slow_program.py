# SPDX-License-Identifier: Apache-2.0
"""rbdcloner-manager where moving an image to the trash takes long."""

import sys
import time
from typing import Any

from rbdcloner.ceph import removing
from rbdcloner.cmd import manager

TRASH_S = 1.0

#: How it is started, from whatever folder.
COMMAND = (sys.executable, __file__)


def main() -> int:
    """Run the manager until SIGTERM; the exit code."""
    trash = removing.trash

    def slowly(*given: Any) -> None:
        time.sleep(TRASH_S)
        trash(*given)

    removing.trash = slowly
    return manager.main()


if __name__ == '__main__':
    sys.exit(main())
