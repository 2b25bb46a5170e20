# SPDX-License-Identifier: Apache-2.0
"""An image's data on its way from Glance into the cluster.

Raw data is written as it comes, without a file. Other formats are kept in a
scratch file until all of it was verified and inspected; only then does
qemu-img open it. What is zero is not written.

How far it is, is told in bytes of Glance's data. Where it is converted they
count twice, since nobody knows before how much will come of them: so what is
told never goes back.
"""

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
import contextlib
import dataclasses
import itertools
import pathlib
import threading
import time
from typing import Protocol

from rbdcloner import errors
from rbdcloner.ceph import blocks
from rbdcloner.ceph.driver import Driver
from rbdcloner.ceph.open_image import OpenImage
from rbdcloner.images import conversion
from rbdcloner.images.inspection import Inspection
from rbdcloner.images.scratch import Scratch
from rbdcloner.images.verification import Verifier
from rbdcloner.images.verification import verified
from rbdcloner.model import GlanceImage
from rbdcloner.model import Image

_MIB = 2**20

#: Called with (bytes done, bytes in all); what it raises ends the import.
Progress = Callable[[int, int], None]


class Downloads(Protocol):
    """What this room needs of Glance."""

    def look(self, image_id: str) -> GlanceImage:
        """Return the image as it is now."""

    def download(
        self, image_id: str
    ) -> contextlib.AbstractContextManager[Iterator[bytes]]:
        """Give the image's data in pieces."""

    def copy_to(self, image_id: str, store: str) -> bool:
        """Have Glance copy the image to a store; whether it began."""


@dataclasses.dataclass(frozen=True, slots=True)
class Fetched:
    """Data that was verified and inspected: the disk's size, and a file."""

    path: pathlib.Path
    size_bytes: int


@dataclasses.dataclass(frozen=True, slots=True)
class Data:
    """Brings images' data in, at most *mib_per_s* of it in a second.

    *signatures* returns who verifies an image's, if that is asked for.
    """

    ceph: Driver
    images: Downloads
    scratch: Scratch
    limit_bytes: int
    mib_per_s: float
    signatures: Callable[[GlanceImage], Verifier | None]

    def check_size(self, image: GlanceImage) -> None:
        """Raise if what Glance says of *image* is too much already.

        :raises ImageTooLarge: it is.
        """
        if image.size_bytes > self.limit_bytes:
            raise errors.ImageTooLarge(
                image_id=image.id,
                size_bytes=image.size_bytes,
                limit_bytes=self.limit_bytes,
            )

    @contextlib.contextmanager
    def streamed(
        self, image: GlanceImage, progress: Progress
    ) -> Iterator[Callable[[OpenImage], None]]:
        """Give what writes raw data into an open image of its size, all zeros.

        The first of the data has come by then: without any, nothing is to be
        made for it.

        :raises ImageUnfit: it is not what Glance says, or may not be used;
            so does what writes it.
        """
        inspection = Inspection(image, self.limit_bytes)

        def write(opened: OpenImage) -> None:
            opened.write(blocks.blocks(itertools.chain(first, pieces)))
            inspection.disk()

        with self._verified(image, inspection, progress) as pieces:
            first = list(itertools.islice(pieces, 1))
            yield write

    @contextlib.contextmanager
    def fetched(
        self, image: GlanceImage, progress: Progress
    ) -> Iterator[Fetched]:
        """Give a file of the data that qemu-img may open.

        :raises ImageUnfit: it is not what Glance says, or may not be used.
        :raises ScratchFull: there is no room for it now.
        :raises ScratchTooSmall: there will never be.
        """

        def half(done_bytes: int, total_bytes: int) -> None:
            progress(done_bytes, 2 * total_bytes)

        inspection = Inspection(image, self.limit_bytes)
        with self.scratch.file(image.id, image.size_bytes) as kept:
            with self._verified(image, inspection, half) as pieces:
                for piece in pieces:
                    kept.opened.write(piece)
            kept.opened.flush()
            disk = inspection.disk()
            size_bytes = conversion.inspect(
                kept.path, image, disk.size_bytes, self.limit_bytes
            )
            yield Fetched(kept.path, size_bytes)

    def convert(
        self,
        image: GlanceImage,
        fetched: Fetched,
        target: Image,
        progress: Progress,
    ) -> None:
        """Write the disk in the file into an image of its size, all zeros.

        :raises ConversionFailed: qemu-img did not.
        """
        size_bytes = image.size_bytes

        def other_half(done: int, total: int) -> None:
            more_bytes = size_bytes * done // max(total, 1)
            progress(size_bytes + more_bytes, 2 * size_bytes)

        conversion.convert(
            fetched.path,
            image,
            self.ceph.qemu_target(target),
            other_half,
            size_bytes=fetched.size_bytes,
            bytes_per_s=int(self.mib_per_s * _MIB),
        )

    @contextlib.contextmanager
    def _verified(
        self,
        image: GlanceImage,
        inspection: Inspection,
        progress: Progress,
    ) -> Iterator[Iterator[bytes]]:
        verifier = self.signatures(image)
        with self.images.download(image.id) as pieces:
            paced = self._paced(pieces, image.size_bytes, progress)
            yield verified(image, inspection.watch(paced), verifier)

    def _paced(
        self, pieces: Iterable[bytes], total_bytes: int, progress: Progress
    ) -> Iterator[bytes]:
        """Pass pieces on, no faster than is allowed, and tell how far."""
        begun = time.monotonic()
        done_bytes = 0
        pause = threading.Event()
        for piece in pieces:
            yield piece
            done_bytes += len(piece)
            progress(done_bytes, total_bytes)
            if self.mib_per_s:
                due = begun + done_bytes / _MIB / self.mib_per_s
                # A piece is small: nobody waits long for the next question.
                pause.wait(max(0.0, due - time.monotonic()))
