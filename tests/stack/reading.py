# SPDX-License-Identifier: Apache-2.0
"""Images opened to be read, and closed when librbd has done with them.

Closed at once, a clone is still used by a thread of librbd 16.2, which aborts
the process or waits for ever; so it is closed as the service does it.
"""

from collections.abc import Iterator
import contextlib
from typing import Any

from rbdcloner.ceph import looking
from rbdcloner.model import Image


@contextlib.contextmanager
def opened(
    ioctx: Any, name: str = '', image_id: str = '', snapshot: str = ''
) -> Iterator[Any]:
    """Open an image by its RBD id, if that is given, else by its name.

    :raises RbdImageNotFound: there is no such image.
    """
    which = Image('', '', '', name, image_id)
    with looking.opened(ioctx, which) as found:
        if snapshot:
            found.set_snap(snapshot)
        yield found
