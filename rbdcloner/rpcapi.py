# SPDX-License-Identifier: Apache-2.0
"""The client: what nova-compute and administrators' tools import.

It chooses neither threads nor eventlet, opens no connection before the first
call, and needs nothing of the service but this module's imports. One client
serves every thread of a process, and of the processes that it forks.
"""

from collections.abc import Callable
import copy
import math
from typing import Any
from typing import Self

from oslo_config import cfg
from oslo_context import context
import oslo_messaging as messaging

from rbdcloner import calling
from rbdcloner import rpc

#: A caller has its answer, or an error's name, before that.
TIMEOUT_S = 120

Disk = dict[str, Any]


class API:
    """Calls any rbdcloner-manager of the cloud.

    Every method can be repeated with the same arguments, by anybody and at
    any time, and gives the same answer. A call that is not answered, because
    a worker died or the broker did, is sent again until *timeout_s* seconds
    have passed in all; so is one that a worker has no room for, or that
    waits for a flatten or for others who work on the same disk. With
    *silence_s* it is given up, too, when nothing was heard for so long.

    Each raises one of :mod:`rbdcloner.errors`; those with ``retryable`` set
    may be gone next time. After *timeout_s* that is the last answer:
    ``ServiceBusy``, ``RoomNeeded``, ``DiskBusy`` …, or ``ServiceUnavailable``
    if there was none, which says why and since when; the request may have
    been executed all the same. All sizes are bytes. *ctxt* is an
    ``oslo_context`` context; its request and project ids reach the manager's
    log, its token goes nowhere. *connect* returns a transport for this
    process that is not connected.

    A disk is a dict with the keys ``uuid``, ``name``, ``pool``,
    ``namespace``, ``fsid``, ``image_id`` (RBD's), ``size_bytes``,
    ``clone_format``, ``kind``, ``parent`` (a dict with ``id``, ``pool``,
    ``namespace``, ``image``, ``image_id``, ``snapshot``, ``snapshot_id``,
    ``size_bytes``, or ``None``), ``attached`` (whether it needs its parent),
    ``glance_image_id``, ``instance_uuid``, ``project_id``, ``host``,
    ``state``, ``reason``, ``created_at`` (ISO 8601, UTC) and ``id``.

    RPC version history:

    * 1.0 - Initial version.
    * 1.1 - Add ``snapshot_disk``, ``discard_snapshot``, ``create_snapshot``,
      ``remove_snapshot`` and ``rollback_disk``; a disk has ``kind`` and
      ``attached``, its parent may be ``None``, and ``delete_disk`` answers
      when it is ``retired``.
    * 1.2 - Add ``begin_import``, ``finish_import`` and ``adopt_disk``; a disk
      may be ``importing``.
    * 1.3 - Add ``wait`` to ``delete_disks`` and ``import_`` to
      ``create_disk``; ``is_cloneable`` says what an import would come to.
    """

    def __init__(
        self,
        connect: Callable[[], messaging.Transport],
        version_cap: str | None = None,
        timeout_s: float = TIMEOUT_S,
        silence_s: float = math.inf,
    ) -> None:
        self._calls = calling.Calls(connect, version_cap, timeout_s, silence_s)

    @classmethod
    def from_conf(
        cls, conf: cfg.ConfigOpts, url: str | None = None, **settings: Any
    ) -> Self:
        """Return a client over the RabbitMQ that *conf* names.

        Another service's *conf* comes with a *url*, that names the broker of
        the managers, or is empty if they share one.
        ``[upgrade_levels] rbdcloner`` caps the version that it speaks.
        """
        conf.register_opts(rpc.UPGRADE_LEVELS, 'upgrade_levels')
        cap = conf.upgrade_levels.rbdcloner
        return cls(
            lambda: rpc.transport(conf, url), version_cap=cap, **settings
        )

    def within(self, timeout_s: float) -> Self:
        """Return a client over the same connection with that deadline."""
        other = copy.copy(self)
        other._calls = self._calls.within(timeout_s)
        return other

    def ping(self, ctxt: context.RequestContext) -> dict[str, Any]:
        """Return a manager's ``version``, ``workers`` and ``fsid``."""
        return self._call(ctxt, 'ping')

    def is_cloneable(
        self, ctxt: context.RequestContext, image_id: str
    ) -> dict[str, Any]:
        """Tell whether disks can be cloned from a Glance image.

        Returns ``cloneable``; ``location`` and ``size_bytes`` of what would
        be cloned, or ``None``; and ``refusals``, a list of ``location``,
        ``reason`` (a code such as ``other-cluster``) and ``message``. For
        what is not cloneable ``import`` has the ``way`` that it would come
        (``copy``, ``stream`` or ``convert``), the ``reason`` if it would not,
        and the state of its ``base`` or ``None``.

        :raises ImageNotFound: Glance has no such image.
        :raises ImageNotActive: the image has no data, or no more.
        :raises ImageHidden: its owner has hidden it.
        """
        return self._call(ctxt, 'is_cloneable', image_id=image_id)

    def create_disk(
        self,
        ctxt: context.RequestContext,
        image_id: str,
        name: str,
        size_bytes: int,
        pool: str,
        instance_uuid: str,
        project_id: str,
        host: str,
        import_: str = 'never',
    ) -> Disk:
        """Make a copy-on-write disk of a Glance image; the disk, ready.

        With *import_* ``allowed`` an image that cannot be cloned is imported
        once for the whole cluster and cloned then: the call takes as long as
        that comes on, whatever its deadline. Managers that know nothing of
        that refuse it as ``never`` does.

        :raises ImageError: the image cannot be used (not found, not active,
            hidden, forbidden to the project, not cloneable, not fit for an
            import, larger than the disk): nothing was made.
        :raises ImageImporting: the import has not come on for a deadline.
        :raises DiskDiffers: the name is a disk made by another request.
        :raises NameTaken: the name is an image that this service did not make.
        :raises OutOfSpace: the pool is full: nothing is left of the disk.
        """
        given: dict[str, Any] = {
            'image_id': image_id,
            'name': name,
            'size_bytes': size_bytes,
            'pool': pool,
            'instance_uuid': instance_uuid,
            'project_id': project_id,
            'host': host,
        }
        if import_ == 'never' or not self._calls.may_send('1.3'):
            return self._call(ctxt, 'create_disk', **given)
        return self._call(ctxt, 'create_disk', '1.3', **given, import_=import_)

    def begin_import(
        self,
        ctxt: context.RequestContext,
        *,
        name: str,
        size_bytes: int,
        pool: str,
        instance_uuid: str,
        project_id: str,
        host: str,
    ) -> Disk:
        """Make an empty image for the caller to write into; ``importing``.

        He opens it by the ``image_id`` of the answer, writes, closes it and
        calls :meth:`finish_import`. Until then the disk can be deleted and
        nothing else. A later call for the same disk gets another image, and
        what was written before is not used.

        :raises DiskExists: the name is a disk already that is whole.
        :raises DiskDiffers: the name is another instance's disk.
        :raises DiskInUse: somebody still writes into the image of an earlier
            call; that goes when he has closed it.
        :raises NameTaken: the name is an image that this service did not make.
        :raises OutOfSpace: the pool is full: nothing is left of the disk.
        """
        return self._call(
            ctxt,
            'begin_import',
            '1.2',
            name=name,
            size_bytes=size_bytes,
            pool=pool,
            instance_uuid=instance_uuid,
            project_id=project_id,
            host=host,
        )

    def finish_import(
        self,
        ctxt: context.RequestContext,
        *,
        name: str,
        pool: str,
        image_id: str,
        size_bytes: int,
    ) -> Disk:
        """Make the disk ready that the caller has written.

        *image_id* is of RBD, of the image that he wrote into; if that is
        smaller than *size_bytes* it grows.

        :raises DiskNotFound: there is no such disk any more.
        :raises DiskDiffers: it was begun anew, with another image.
        :raises DiskInUse: somebody has the image open.
        """
        return self._call(
            ctxt,
            'finish_import',
            '1.2',
            name=name,
            pool=pool,
            image_id=image_id,
            size_bytes=size_bytes,
        )

    def adopt_disk(
        self,
        ctxt: context.RequestContext,
        *,
        name: str,
        pool: str,
        instance_uuid: str,
        project_id: str,
        host: str,
        image_id: str | None = None,
    ) -> Disk:
        """Record a disk that others made under that name; the disk, ready.

        Its size, its RBD id and its parent are what Ceph says. *image_id* is
        of the Glance image, if it is known. It may be in use.

        :raises DiskNotFound: there is no image of that name.
        :raises DiskDiffers: it is another instance's disk, or recorded under
            another name.
        :raises NameTaken: it is a Glance image that this service made.
        """
        return self._call(
            ctxt,
            'adopt_disk',
            '1.2',
            name=name,
            pool=pool,
            instance_uuid=instance_uuid,
            project_id=project_id,
            host=host,
            image_id=image_id,
        )

    def get_disk(
        self, ctxt: context.RequestContext, name: str, pool: str
    ) -> Disk:
        """Return the disk.

        :raises DiskNotFound: no disk has the name now.
        """
        return self._call(ctxt, 'get_disk', name=name, pool=pool)

    def get_disk_size(
        self, ctxt: context.RequestContext, name: str, pool: str
    ) -> int:
        """Return the disk's size.

        :raises DiskNotFound: no disk has the name now.
        """
        return self._call(ctxt, 'get_disk_size', name=name, pool=pool)

    def list_disks(
        self,
        ctxt: context.RequestContext,
        instance_uuid: str | None = None,
        parent: int | None = None,
        state: str | None = None,
        marker: int = 0,
        limit: int = 100,
    ) -> dict[str, Any]:
        """Return a page of ``disks`` and the next page's ``marker``.

        Removed disks are among them, in state ``deleted`` or ``failed``.
        *parent* is a parent's ``id``; *limit* is at most 1000. The last page
        has the marker ``None``.
        """
        return self._call(
            ctxt,
            'list_disks',
            instance_uuid=instance_uuid,
            parent=parent,
            state=state,
            marker=marker,
            limit=limit,
        )

    def resize_disk(
        self,
        ctxt: context.RequestContext,
        name: str,
        pool: str,
        size_bytes: int,
    ) -> Disk:
        """Grow the disk; nothing if it has that size.

        :raises ShrinkRefused: it is larger.
        """
        return self._call(
            ctxt, 'resize_disk', name=name, pool=pool, size_bytes=size_bytes
        )

    def delete_disk(
        self, ctxt: context.RequestContext, name: str, pool: str
    ) -> Disk:
        """Free the disk's name; the disk, ``retired`` or in a final state.

        What others descend from stays for them; the rest is destroyed in the
        background. Snapshots that were asked for go with it.

        :raises DiskNotFound: there never was such a disk.
        :raises DiskInUse: it is open somewhere; the removal goes on by itself
            when it is not.
        """
        return self._call(ctxt, 'delete_disk', name=name, pool=pool)

    def delete_disks(
        self,
        ctxt: context.RequestContext,
        instance_uuid: str,
        suffix: str | None = None,
        wait: bool = True,
    ) -> list[Disk]:
        """Free the names of the instance's disks, or of those that end so.

        As :meth:`delete_disk`. Returns them all, those removed before too;
        none is not an error. Who does not *wait* has his answer when it is
        written down what is to go: the disks are ``deleting`` and go by
        themselves, and a request for one of their names waits for that.
        Managers that know nothing of that are waited for.

        :raises DiskInUse: after the others were removed.
        """
        given: dict[str, Any] = {
            'instance_uuid': instance_uuid,
            'suffix': suffix,
        }
        if wait or not self._calls.may_send('1.3'):
            return self._call(ctxt, 'delete_disks', **given)
        return self._call(ctxt, 'delete_disks', '1.3', **given, wait=False)

    def snapshot_disk(
        self,
        ctxt: context.RequestContext,
        name: str,
        pool: str,
        image_id: str,
        dest_pool: str,
    ) -> str:
        """Make the disk's data, as it is now, a Glance image in *dest_pool*.

        Returns the location to register with the image: nothing is copied,
        and the disk may be deleted at any time. A running guest goes on.

        :raises DiskNotFound: there is no such disk.
        :raises DiskDiffers: the image was made of another disk.
        :raises RoomNeeded: images would descend from each other too deeply,
            or the disk has too many snapshots; it says what it waits for.
        """
        return self._call(
            ctxt,
            'snapshot_disk',
            '1.1',
            name=name,
            pool=pool,
            image_id=image_id,
            dest_pool=dest_pool,
        )

    def discard_snapshot(
        self, ctxt: context.RequestContext, location: str
    ) -> None:
        """Undo ``snapshot_disk``; nothing if it is undone.

        :raises InvalidArgument: *location* is not in this cluster.
        :raises NameTaken: the image there is not this service's.
        """
        self._call(ctxt, 'discard_snapshot', '1.1', location=location)

    def create_snapshot(
        self,
        ctxt: context.RequestContext,
        name: str,
        pool: str,
        snapshot: str,
    ) -> dict[str, Any]:
        """Take a snapshot of the disk; nothing if it has that one.

        Returns ``name``, ``id`` (RBD's) and ``size_bytes``. It goes with the
        disk, if it is not removed before.

        :raises DiskNotFound: there is no such disk.
        :raises RoomNeeded: the disk has too many.
        """
        return self._call(
            ctxt,
            'create_snapshot',
            '1.1',
            name=name,
            pool=pool,
            snapshot=snapshot,
        )

    def remove_snapshot(
        self,
        ctxt: context.RequestContext,
        name: str,
        pool: str,
        snapshot: str,
    ) -> None:
        """Remove the snapshot of the disk; nothing if it has none so named.

        :raises DiskNotFound: there is no such disk.
        :raises DiskSnapshotInUse: images descend from it.
        """
        self._call(
            ctxt,
            'remove_snapshot',
            '1.1',
            name=name,
            pool=pool,
            snapshot=snapshot,
        )

    def rollback_disk(
        self,
        ctxt: context.RequestContext,
        name: str,
        pool: str,
        snapshot: str,
    ) -> Disk:
        """Give the disk the data and the size that it had then.

        :raises DiskSnapshotNotFound: the disk has no such snapshot.
        :raises DiskInUse: it is open somewhere; nothing was done.
        """
        return self._call(
            ctxt,
            'rollback_disk',
            '1.1',
            name=name,
            pool=pool,
            snapshot=snapshot,
        )

    def _call(
        self,
        ctxt: context.RequestContext,
        method: str,
        version: str = '1.0',
        **given: Any,
    ) -> Any:
        caller = rpc.Caller(ctxt.global_id, ctxt.project_id)
        return self._calls.make(
            calling.Request(caller, method, version, given)
        )
