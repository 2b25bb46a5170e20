# SPDX-License-Identifier: Apache-2.0
"""The RPC endpoints: check, call, answer.

Each public method is the twin of one in :mod:`rbdcloner.rpcapi`, which
documents them; a test compares the signatures.
"""

import dataclasses
from typing import Any
from typing import ClassVar

import oslo_messaging as messaging

from rbdcloner import metrics
from rbdcloner import rpc
from rbdcloner.disks.blank_disks import BlankDisks
from rbdcloner.disks.engine import Engine
from rbdcloner.disks.snapshots import Snapshots
from rbdcloner.maintenance.offline_notes import OfflineNotes
from rbdcloner.model import Request
from rbdcloner.server import replies
from rbdcloner.server import validation
from rbdcloner.server.replies import Answer

Context = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Manager:
    """What callers may ask for."""

    target = messaging.Target(version=rpc.VERSION)

    #: What waits for Glance or Ceph, by what it is limited together with.
    #: The other methods read, or answer at once.
    KINDS: ClassVar = {
        'creations': frozenset(
            {
                'adopt_disk',
                'begin_import',
                'create_disk',
                'finish_import',
                'is_cloneable',
                'resize_disk',
            }
        ),
        'removals and snapshots': frozenset(
            {
                'create_snapshot',
                'delete_disk',
                'delete_disks',
                'discard_snapshot',
                'remove_snapshot',
                'rollback_disk',
                'snapshot_disk',
            }
        ),
    }

    engine: Engine
    snapshots: Snapshots
    blank_disks: BlankDisks
    noted: OfflineNotes
    version: str
    workers: int

    def ping(self, ctxt: Context) -> Answer:
        return {
            'version': self.version,
            'workers': self.workers,
            'fsid': self.engine.fsid,
        }

    def is_cloneable(self, ctxt: Context, image_id: str) -> Answer:
        verdict, outlook = self.engine.is_cloneable(
            validation.uuid('image_id', image_id)
        )
        for _url, refusal in verdict.refusals:
            metrics.REFUSALS.labels(refusal).inc()
        return replies.cloneable(verdict, outlook)

    def create_disk(
        self,
        ctxt: Context,
        image_id: str,
        name: str,
        size_bytes: int,
        pool: str,
        instance_uuid: str,
        project_id: str,
        host: str,
        import_: str = validation.NEVER,
    ) -> Answer:
        request = validation.disk_request(
            image_id=image_id,
            name=name,
            size_bytes=size_bytes,
            pool=pool,
            instance_uuid=instance_uuid,
            project_id=project_id,
            host=host,
            after=rpc.Caller.unpack(ctxt).after,
            import_=import_,
        )
        return replies.disk(self.engine.create_disk(request))

    def begin_import(
        self,
        ctxt: Context,
        *,
        name: str,
        size_bytes: int,
        pool: str,
        instance_uuid: str,
        project_id: str,
        host: str,
    ) -> Answer:
        caller = rpc.Caller.unpack(ctxt)
        request = validation.import_request(
            name=name,
            size_bytes=size_bytes,
            pool=pool,
            instance_uuid=instance_uuid,
            project_id=project_id,
            host=host,
            after=caller.after,
            call=caller.call_id,
        )
        return replies.disk(self.blank_disks.begin(request))

    def finish_import(
        self,
        ctxt: Context,
        *,
        name: str,
        pool: str,
        image_id: str,
        size_bytes: int,
    ) -> Answer:
        clone = self.blank_disks.finish(
            validation.pool(pool),
            validation.name('name', name),
            validation.text('image_id', image_id),
            validation.size(size_bytes),
        )
        return replies.disk(clone)

    def adopt_disk(
        self,
        ctxt: Context,
        *,
        name: str,
        pool: str,
        instance_uuid: str,
        project_id: str,
        host: str,
        image_id: str | None = None,
    ) -> Answer:
        request = validation.adoption_request(
            name=name,
            pool=pool,
            instance_uuid=instance_uuid,
            project_id=project_id,
            host=host,
            image_id=image_id,
            after=rpc.Caller.unpack(ctxt).after,
        )
        return replies.disk(self.noted.adoption.adopt(request))

    def get_disk(self, ctxt: Context, name: str, pool: str) -> Answer:
        clone = self.engine.look_at_disk(
            validation.pool(pool), validation.name('name', name)
        )
        return replies.disk(clone)

    def get_disk_size(self, ctxt: Context, name: str, pool: str) -> int:
        clone = self.engine.get_disk(
            validation.pool(pool), validation.name('name', name)
        )
        return clone.size_bytes

    def list_disks(
        self,
        ctxt: Context,
        instance_uuid: str | None = None,
        parent: int | None = None,
        state: str | None = None,
        marker: int = 0,
        limit: int = 100,
    ) -> Answer:
        limit = validation.whole('limit', limit, 1, validation.MAX_PAGE)
        rows = self.engine.page(
            validation.filters(instance_uuid, parent, state),
            validation.whole('marker', marker, 0, 2**63 - 1),
            limit,
        )
        return {
            'disks': [replies.disk(clone) for clone in rows],
            'marker': rows[-1].id if len(rows) == limit else None,
        }

    def resize_disk(
        self, ctxt: Context, name: str, pool: str, size_bytes: int
    ) -> Answer:
        clone = self.engine.resize_disk(
            validation.pool(pool),
            validation.name('name', name),
            validation.size(size_bytes),
            _request(ctxt),
        )
        return replies.disk(clone)

    def delete_disk(self, ctxt: Context, name: str, pool: str) -> Answer:
        clone = self.engine.delete_disk(
            validation.pool(pool),
            validation.name('name', name),
            rpc.Caller.unpack(ctxt).call_id,
        )
        return replies.disk(clone)

    def delete_disks(
        self,
        ctxt: Context,
        instance_uuid: str,
        suffix: str | None = None,
        wait: bool = True,
    ) -> list[Answer]:
        instance_uuid = validation.uuid('instance_uuid', instance_uuid)
        suffix = validation.text('suffix', suffix or '', empty=True)
        wait = validation.flag('wait', wait)
        self.noted.adopt_of(instance_uuid)
        clones = self.engine.delete_disks(
            instance_uuid, suffix, rpc.Caller.unpack(ctxt).call_id, wait
        )
        return [replies.disk(clone) for clone in clones]

    def snapshot_disk(
        self,
        ctxt: Context,
        name: str,
        pool: str,
        image_id: str,
        dest_pool: str,
    ) -> str:
        return self.snapshots.snapshot_disk(
            validation.pool(pool),
            validation.name('name', name),
            validation.uuid('image_id', image_id),
            validation.pool(dest_pool, 'dest_pool'),
            rpc.Caller.unpack(ctxt).after,
        )

    def discard_snapshot(self, ctxt: Context, location: str) -> None:
        self.snapshots.discard_snapshot(
            validation.location('location', location),
            rpc.Caller.unpack(ctxt).call_id,
        )

    def create_snapshot(
        self, ctxt: Context, name: str, pool: str, snapshot: str
    ) -> Answer:
        taken = self.snapshots.create_snapshot(
            *validation.disk_snapshot(pool, name, snapshot), _request(ctxt)
        )
        return {
            'name': taken.snapshot.name,
            'id': taken.snapshot.id,
            'size_bytes': taken.size_bytes,
        }

    def remove_snapshot(
        self, ctxt: Context, name: str, pool: str, snapshot: str
    ) -> None:
        self.snapshots.remove_snapshot(
            *validation.disk_snapshot(pool, name, snapshot), _request(ctxt)
        )

    def rollback_disk(
        self, ctxt: Context, name: str, pool: str, snapshot: str
    ) -> Answer:
        clone = self.snapshots.rollback_disk(
            *validation.disk_snapshot(pool, name, snapshot), _request(ctxt)
        )
        return replies.disk(clone)


def _request(ctxt: Context) -> Request:
    """Return which request changes a disk, and what its caller knew."""
    caller = rpc.Caller.unpack(ctxt)
    return Request(caller.call_id, caller.after)
