# SPDX-License-Identifier: Apache-2.0
"""The interface to an RBD image that is open to write.

The driver (:mod:`.driver`) opens it, and says what every verb may raise and
when it asks for its permit.
"""

from collections.abc import Iterable
from typing import Protocol

from rbdcloner.model import ImageFacts
from rbdcloner.model import SnapshotFacts


class OpenImage(Protocol):
    """An RBD image opened to write; not shared by threads."""

    def facts(self) -> ImageFacts:
        """Return what the image is, with its id, from memory.

        Of its tag, what was written since it was opened.
        """

    def tag(self, uuid: str) -> None:
        """Write the uuid of the clone row that owns the image onto it.

        The image counts as not delivered from then on.
        """

    def mark_delivered(self, uuid: str, writing: bool = False) -> None:
        """Write the row's uuid onto the image, and that it is delivered.

        And, of a blank disk, that its caller is *writing* it.

        One operation, which replaces the tag: an image that has the tag and
        not this mark was never handed to a caller.
        """

    def mark_committed(self, uuid: str) -> None:
        """Write onto a delivered image that its caller has written it whole.

        One operation, which replaces the mark of the delivery and says the
        same: the image is the row's, and delivered.
        """

    def resize(self, size_bytes: int) -> None:
        """Make the image *size_bytes* long; nothing if it is.

        :raises OutOfSpace: the pool takes no writes.
        """

    def write(self, blocks: Iterable[tuple[int, bytes]]) -> None:
        """Write each of *blocks*, an offset and its data, into the image.

        When it returns all of it is on the disks. Eight blocks are on their
        way at once, and as many copies of theirs in memory: *blocks* should
        be made as they are asked for, of one object each (:mod:`.blocks`).
        The permit is asked before each. Whatever is raised, also by *blocks*,
        is raised once nothing is on its way any more; what was written stays,
        and which part of the rest was, nobody knows.

        :raises OutOfSpace: the pool takes no writes.
        :raises CephRefused: a block goes past the image's end.
        """

    def take_snapshot(self, name: str) -> SnapshotFacts:
        """Take a snapshot of the image; nothing if *name* is there.

        :raises OutOfSpace: the pool takes no writes.
        """

    def protect(self, name: str) -> None:
        """Make the snapshot *name* protected; nothing if it is.

        :raises SnapshotNotFound: there is no such snapshot.
        """
