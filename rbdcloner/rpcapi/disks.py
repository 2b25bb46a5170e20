# SPDX-License-Identifier: Apache-2.0
"""Disks, cloned from images, and disks of any origin while they live."""

from typing import Any

from oslo_context import context

from rbdcloner.rpcapi.client import Client
from rbdcloner.rpcapi.client import Disk


class Disks(Client):
    """Calls about disks."""

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
            forbidden to the project, not cloneable, not fit for an import,
            larger than the disk): nothing was made.
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

    def get_disk(
        self, ctxt: context.RequestContext, name: str, pool: str
    ) -> Disk:
        """Return the disk; ``ready`` only if Ceph has its image.

        :raises DiskImageMissing: others removed, trashed or renamed it.
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
        :raises RbdImageReplaced: an image that is not the disk has the name,
            also where the disk was removed before; nothing is done to it.
        :raises DatabaseOutdated: a backup of the database was restored; the
            removal is recorded, and goes on by itself after ``db restored``.
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
        :raises DatabaseOutdated: as :meth:`delete_disk`; who does not *wait*
            is told where none of the disks is known.
        """
        given: dict[str, Any] = {
            'instance_uuid': instance_uuid,
            'suffix': suffix,
        }
        if wait or not self._calls.may_send('1.3'):
            return self._call(ctxt, 'delete_disks', **given)
        return self._call(ctxt, 'delete_disks', '1.3', **given, wait=False)
