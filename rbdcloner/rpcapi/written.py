# SPDX-License-Identifier: Apache-2.0
"""Disks whose data is not cloned: callers write it, or others did."""

from oslo_context import context

from rbdcloner.rpcapi.client import Client
from rbdcloner.rpcapi.client import Disk


class WrittenDisks(Client):
    """Calls about disks that the service does not clone."""

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
        :raises DatabaseOutdated: the database is older than the cluster, and
            another call has begun the disk: it may be whole by now.
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
