# SPDX-License-Identifier: Apache-2.0
"""The interface to one Ceph cluster: few verbs, each one act.

Nouns are :mod:`rbdcloner.model`'s. A verb that changes Ceph is one act: it
happened or it did not, and the caller that lost the answer looks with
:meth:`Driver.find_image` or :meth:`Driver.find_snapshot`. Verbs pair up:
``protect``/``unprotect``, ``create`` or ``clone``/``trash``+``purge``,
``take_snapshot``/``remove_snapshot``.

Every verb may raise

:raises CephUnavailable: no answer within the RADOS timeouts; what came of a
    changing verb is unknown.
:raises CephForbidden: the key's caps do not allow it.
:raises CephRefused: any other refusal, with Ceph's own words.

:raises RbdImageMigrating: *image* is being migrated; nothing was done.
:raises RbdImageRenamed: *image* is to be written, and its id and its name
    disagree; nothing was done.

and nothing of rados or rbd. Those that look are in :mod:`.reader`. Nothing is
retried here. Rejected: a verb that makes, tags and resizes in one, because a
caller could not tell where a lost connection left it; and deletion by name,
because Nova reuses names.

Before each act a driver asks the ``permit`` that it was made with, and after
it has connected: what that raises it raises, having done nothing. It says
since when the connection that the act goes through can be blocklisted.
"""

from collections.abc import Callable
from collections.abc import Collection
import contextlib
from typing import Protocol

from rbdcloner.ceph.open_image import OpenImage
from rbdcloner.ceph.reader import Reader
from rbdcloner.model import CloneFormat
from rbdcloner.model import Image
from rbdcloner.model import Snapshot
from rbdcloner.model import SnapshotFacts

#: Called with (objects begun, objects in all) while an image is flattened,
#: from 0 and perhaps not up to the last; False stops it, and what it raises
#: stops it too. It may sleep, which slows the flattening down.
Progress = Callable[[int, int], bool]


#: Returns if the calling thread may change something in Ceph now.
Permit = Callable[[], None]
#: The same, through a connection whose address others have known since a
#: moment of the monotonic clock.
PermitThrough = Callable[[float], None]


class Driver(Reader, Protocol):
    """One cluster, reached with one key; safe to use from many threads.

    Without the verbs that destroy: those are a :class:`Destroyer`'s.
    """

    @property
    def fsid(self) -> str:
        """The cluster's fsid, known since the connection was made."""

    def shut_out(self, addresses: Collection[str]) -> None:
        """Have Ceph refuse all that comes from *addresses*, for a day.

        They are of clients' connections. What those have begun and Ceph has
        not done by then it will not do, and what is looked at after that is
        what they left; their watches end. Repeated, nothing. Costs a change
        of the cluster's map, some 70 ms; nothing without an address, but that
        who was shut out by others is known to be, too.

        :raises CephForbidden: the key has not "profile rbd" on the mon.
        """

    def strike_note(self, pool: str, name: str, text: str) -> None:
        """Remove the note of a disk in *pool*, if it still says *text*."""

    def mark_lineage(self, pool: str, before: str, mark: str) -> bool:
        """Give *pool* a lineage's mark, if it still has the mark *before*.

        Empty: it has none. In the omap of the object ``rbdcloner.lineage``,
        in one RADOS operation. Returns False, having done nothing, if the
        mark is another. Both are ASCII.

        :raises PoolNotFound: there is no such pool.
        :raises OutOfSpace: the pool takes no writes.
        """

    def create(self, image: Image, size_bytes: int) -> None:
        """Make *image*, by its name: empty, without a parent or a tag.

        As :meth:`clone` it can be done in part: a client that dies in it
        leaves a name without an image, or an image that may be unfit. What is
        found untagged is to be removed, never used.

        :raises RbdImageExists: the name is taken; nothing was done.
        :raises OutOfSpace: the pool takes no writes.
        """

    def clone(
        self,
        parent: Snapshot,
        child: Image,
        clone_format: CloneFormat,
        order: int,
    ) -> None:
        """Make *child* a copy-on-write clone of *parent*, by their names.

        The child has the parent's size, features and metadata, but no tag.
        *order* is the parent's; the child gets at least that.

        Of all acts this and :meth:`create` alone can be done in part: a
        client that dies in it leaves a name without an image (see
        :meth:`Destroyer.free_name`), an image without a parent, or one that
        its parent doesn't count as a child. What is found untagged is to be
        removed, never used.

        :raises RbdImageExists: the child's name is taken; nothing was done.
        :raises RbdImageNotFound: the parent's image is not there by its name.
        :raises SnapshotNotFound: the parent's snapshot is not there; or Ceph
            refuses to clone what has its name, and that is another.
        :raises SnapshotUnprotected: v1, and the parent is not protected.
        :raises OutOfSpace: the child's pool takes no writes.
        """

    def open(
        self, image: Image
    ) -> contextlib.AbstractContextManager[OpenImage]:
        """Hold *image* open to write: by id when it has one, else by name.

        Open to write is a watch on the image.

        :raises RbdImageNotFound: there is no such image.
        """

    def take_snapshot(self, image: Image, name: str) -> SnapshotFacts:
        """Take a snapshot of *image*, by its id; nothing if *name* is there.

        A client that has the image open goes on writing, after it.

        :raises RbdImageNotFound: there is no such image, or it is trashed.
        :raises OutOfSpace: the pool takes no writes.
        """

    def flatten(
        self, image: Image, progress: Progress, forced: bool = False
    ) -> None:
        """Copy into *image*, by its id, what it has of its parent alone.

        In the pool or in its trash. Nothing if it has no parent. Interrupted
        or stopped it keeps its parent and what was copied, and is called
        again. Works on a connection of its own, so that *progress* may sleep.
        With *forced* also under a client that has the image open, which then
        does the work itself, and nothing that *progress* returns stops it.

        The snapshots of *image* get the data too, and the trashed snapshot
        that it was the last child of goes, as when it is purged. An image
        without the feature deep-flatten has no parent afterwards, but stays
        a child as long as it has a snapshot of before: only
        :meth:`children` tells.

        :raises RbdImageNotFound: there is no such image.
        :raises RbdImageInUse: somebody has the image open.
        :raises FlattenStopped: *progress* returned False.
        :raises OutOfSpace: the pool takes no writes.
        """

    def protect(self, snapshot: Snapshot) -> None:
        """Make *snapshot* protected; nothing if it is.

        :raises SnapshotNotFound: there is no such snapshot, or it has
            another id than *snapshot*.
        """

    def unprotect(self, snapshot: Snapshot) -> None:
        """Make *snapshot* unprotected; nothing if it is, or is not there.

        :raises SnapshotHasChildren: it has v1 children. v2 children do not
            stop it: confirm with :meth:`children` first.
        """

    def restore(self, image: Image) -> None:
        """Move *image* out of the trash, by its id, to its name.

        Nothing if it is not in the trash.

        :raises RbdImageExists: the name was taken meanwhile.
        :raises OutOfSpace: the pool takes no writes.
        """


class Destroyer(Protocol):
    """The verbs that destroy, for :mod:`rbdcloner.cloning.warrants` alone.

    A driver has them, and no other room is given one under this type.
    """

    def remove_snapshot(self, snapshot: Snapshot) -> None:
        """Destroy *snapshot*, by its ids; nothing if it is gone.

        Of a trashed image and out of the trash of snapshots too. Without a
        snapshot id, the one that lives under the name. As slow as
        :meth:`children`.

        :raises SnapshotHasChildren: it has children in either format;
            nothing was done.
        :raises SnapshotProtected: it is protected; nothing was done.
        """

    def rollback(self, snapshot: Snapshot) -> None:
        """Give *snapshot*'s image the data and size that it had then.

        By ids. As slow as the image has objects; interrupted, the image has
        some of both, and the call is repeated.

        :raises RbdImageNotFound: there is no such image.
        :raises SnapshotNotFound: there is no such snapshot.
        :raises SnapshotTrashed: it lies in the trash namespace.
        :raises RbdImageInUse: somebody has the image open; nothing was done.
        """

    def free_name(self, image: Image) -> None:
        """Make the name free that a client left which died while cloning.

        Such a name is taken for :meth:`clone` and leads :meth:`find_image`
        nowhere. Nothing if the name is free.

        :raises RbdImageExists: it leads to an image; nothing was done.
        """

    def trash(self, image: Image) -> None:
        """Move *image* to the trash by its id; nothing if it is there.

        Finishes a move that was interrupted.

        Its name is free afterwards; its data, its id, its snapshots and
        their children stay. Ceph moves by name: the name is found by the id,
        just before.

        :raises RbdImageNotFound: no such image, in the pool or its trash.
        :raises RbdImageRenamed: it has another name; nothing was done.
        :raises RbdImageReplaced: another image has its name, and it has none,
            or is gone; nothing was done to either.
        :raises RbdImageInUse: somebody has it open; nothing was done, but
            that they read its header again. Takes a second where they are
            stopped or were killed.
        """

    def purge(self, image: Image) -> None:
        """Destroy *image*, which lies in the trash; nothing if it is gone.

        Takes as long as the image has objects. Interrupted, it is called
        again.

        :raises CephRefused: it exists and is not in the trash.
        :raises RbdImageInUse: somebody has it open.
        :raises RbdImageHasSnapshots: it has snapshots.
        """


class Cluster(Driver, Destroyer, Protocol):
    """All that can be done with one cluster; for the wiring."""
