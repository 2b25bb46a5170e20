# SPDX-License-Identifier: Apache-2.0
"""The client: what nova-compute and administrators' tools import.

It chooses neither threads nor eventlet, opens no connection before the first
call, and needs nothing of the service but this module's imports. One client
serves every thread of a process, and of the processes that it forks.
"""

from typing import Any

from oslo_context import context

from rbdcloner.rpcapi.client import TIMEOUT_S as TIMEOUT_S
from rbdcloner.rpcapi.client import Disk as Disk
from rbdcloner.rpcapi.disks import Disks
from rbdcloner.rpcapi.snapshots import Snapshots
from rbdcloner.rpcapi.written import WrittenDisks


class API(Disks, WrittenDisks, Snapshots):
    """Calls any rbdcloner-manager of the cloud.

    Every method can be repeated with the same arguments, by anybody and at
    any time, and gives the same answer; but ``create_snapshot`` takes one
    snapshot a call, and what changes a disk does so once a call. A call that
    is not answered, because a worker died or the broker did, is sent again
    until *timeout_s* seconds have passed in all; so is one that a worker has
    no room for, that waits for a flatten or for others who work on the same
    disk, or that the database, Ceph or Glance did not answer. With
    *silence_s* it is given up, too, when nothing was heard for so long.

    Each raises one of :mod:`rbdcloner.errors`; those with ``retryable`` set
    may be gone next time. After *timeout_s* that is the last answer:
    ``ServiceBusy``, ``RoomNeeded``, ``DiskBusy`` …, or ``ServiceUnavailable``
    if there was none, which says why and since when; the request may have
    been executed all the same. ``ConfigurationError`` is raised at once where
    no manager can ever be asked: *conf* names no broker, or one that refuses
    this client. All sizes are bytes. *ctxt* is an
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

    def ping(self, ctxt: context.RequestContext) -> dict[str, Any]:
        """Return a manager's ``version``, ``workers`` and ``fsid``."""
        return self._call(ctxt, 'ping')
