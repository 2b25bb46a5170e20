# SPDX-License-Identifier: Apache-2.0
"""The RPC endpoints: check, call, answer.

Each public method is the twin of one in :mod:`rbdcloner.rpcapi`, which
documents them; a test compares the signatures.
"""

import dataclasses
from typing import Any
from typing import ClassVar

import oslo_messaging as messaging

from rbdcloner import answers
from rbdcloner import arguments
from rbdcloner import metrics
from rbdcloner import rpc
from rbdcloner.answers import Answer
from rbdcloner.cloning.engine import Engine
from rbdcloner.cloning.importing import Imports
from rbdcloner.cloning.noted import Noted
from rbdcloner.cloning.snapshots import Snapshots
from rbdcloner.model import Request

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
    imports: Imports
    noted: Noted
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
            arguments.uuid('image_id', image_id)
        )
        for _url, refusal in verdict.refusals:
            metrics.REFUSALS.labels(refusal).inc()
        return answers.cloneable(verdict, outlook)

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
        import_: str = arguments.NEVER,
    ) -> Answer:
        request = arguments.disk_request(
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
        return answers.disk(self.engine.create_disk(request))

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
        request = arguments.import_request(
            name=name,
            size_bytes=size_bytes,
            pool=pool,
            instance_uuid=instance_uuid,
            project_id=project_id,
            host=host,
            after=caller.after,
            call=caller.call_id,
        )
        return answers.disk(self.imports.begin(request))

    def finish_import(
        self,
        ctxt: Context,
        *,
        name: str,
        pool: str,
        image_id: str,
        size_bytes: int,
    ) -> Answer:
        clone = self.imports.finish(
            arguments.pool(pool),
            arguments.name('name', name),
            arguments.text('image_id', image_id),
            arguments.size(size_bytes),
        )
        return answers.disk(clone)

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
        request = arguments.adoption_request(
            name=name,
            pool=pool,
            instance_uuid=instance_uuid,
            project_id=project_id,
            host=host,
            image_id=image_id,
            after=rpc.Caller.unpack(ctxt).after,
        )
        return answers.disk(self.noted.adoption.adopt(request))

    def get_disk(self, ctxt: Context, name: str, pool: str) -> Answer:
        clone = self.engine.look_at_disk(
            arguments.pool(pool), arguments.name('name', name)
        )
        return answers.disk(clone)

    def get_disk_size(self, ctxt: Context, name: str, pool: str) -> int:
        clone = self.engine.get_disk(
            arguments.pool(pool), arguments.name('name', name)
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
        limit = arguments.whole('limit', limit, 1, arguments.MAX_PAGE)
        rows = self.engine.page(
            arguments.filters(instance_uuid, parent, state),
            arguments.whole('marker', marker, 0, 2**63 - 1),
            limit,
        )
        return {
            'disks': [answers.disk(clone) for clone in rows],
            'marker': rows[-1].id if len(rows) == limit else None,
        }

    def resize_disk(
        self, ctxt: Context, name: str, pool: str, size_bytes: int
    ) -> Answer:
        clone = self.engine.resize_disk(
            arguments.pool(pool),
            arguments.name('name', name),
            arguments.size(size_bytes),
            _request(ctxt),
        )
        return answers.disk(clone)

    def delete_disk(self, ctxt: Context, name: str, pool: str) -> Answer:
        clone = self.engine.delete_disk(
            arguments.pool(pool),
            arguments.name('name', name),
            rpc.Caller.unpack(ctxt).call_id,
        )
        return answers.disk(clone)

    def delete_disks(
        self,
        ctxt: Context,
        instance_uuid: str,
        suffix: str | None = None,
        wait: bool = True,
    ) -> list[Answer]:
        instance_uuid = arguments.uuid('instance_uuid', instance_uuid)
        suffix = arguments.text('suffix', suffix or '', empty=True)
        wait = arguments.flag('wait', wait)
        self.noted.adopt_of(instance_uuid)
        clones = self.engine.delete_disks(
            instance_uuid, suffix, rpc.Caller.unpack(ctxt).call_id, wait
        )
        return [answers.disk(clone) for clone in clones]

    def snapshot_disk(
        self,
        ctxt: Context,
        name: str,
        pool: str,
        image_id: str,
        dest_pool: str,
    ) -> str:
        return self.snapshots.snapshot_disk(
            arguments.pool(pool),
            arguments.name('name', name),
            arguments.uuid('image_id', image_id),
            arguments.pool(dest_pool, 'dest_pool'),
            rpc.Caller.unpack(ctxt).after,
        )

    def discard_snapshot(self, ctxt: Context, location: str) -> None:
        self.snapshots.discard_snapshot(
            arguments.location('location', location),
            rpc.Caller.unpack(ctxt).call_id,
        )

    def create_snapshot(
        self, ctxt: Context, name: str, pool: str, snapshot: str
    ) -> Answer:
        taken = self.snapshots.create_snapshot(
            *arguments.disk_snapshot(pool, name, snapshot), _request(ctxt)
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
            *arguments.disk_snapshot(pool, name, snapshot), _request(ctxt)
        )

    def rollback_disk(
        self, ctxt: Context, name: str, pool: str, snapshot: str
    ) -> Answer:
        clone = self.snapshots.rollback_disk(
            *arguments.disk_snapshot(pool, name, snapshot), _request(ctxt)
        )
        return answers.disk(clone)


def _request(ctxt: Context) -> Request:
    """Return which request changes a disk, and what its caller knew."""
    caller = rpc.Caller.unpack(ctxt)
    return Request(caller.call_id, caller.after)
