# SPDX-License-Identifier: Apache-2.0
"""The RPC endpoints: unpack, call, pack.

Each public method is the twin of one in :mod:`rbdcloner.rpcapi`, which
documents them; a test compares the signatures.
"""

import dataclasses
from typing import Any
from typing import ClassVar

import oslo_messaging as messaging

from rbdcloner import arguments
from rbdcloner import metrics
from rbdcloner import rpc
from rbdcloner.cloning.bases import Outlook
from rbdcloner.cloning.eligibility import Verdict
from rbdcloner.cloning.engine import Engine
from rbdcloner.cloning.importing import Imports
from rbdcloner.cloning.noted import Noted
from rbdcloner.cloning.snapshots import Snapshots
from rbdcloner.model import Clone
from rbdcloner.model import Parent

Context = dict[str, Any]
Answer = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Manager:
    """What callers may ask for."""

    target = messaging.Target(version=rpc.VERSION)

    #: What destroys, or may take long, in favour of who waits for a disk.
    GIVING_WAY: ClassVar = frozenset(
        {
            'create_snapshot',
            'delete_disk',
            'delete_disks',
            'discard_snapshot',
            'remove_snapshot',
            'rollback_disk',
            'snapshot_disk',
        }
    )

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
        return _pack_verdict(verdict) | {
            'import': outlook and _pack_outlook(outlook)
        }

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
        return _pack(self.engine.create_disk(request))

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
        return _pack(self.imports.begin(request))

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
        return _pack(clone)

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
        return _pack(self.noted.adoption.adopt(request))

    def get_disk(self, ctxt: Context, name: str, pool: str) -> Answer:
        return _pack(self._get(name, pool))

    def get_disk_size(self, ctxt: Context, name: str, pool: str) -> int:
        return self._get(name, pool).size_bytes

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
            'disks': [_pack(clone) for clone in rows],
            'marker': rows[-1].id if len(rows) == limit else None,
        }

    def resize_disk(
        self, ctxt: Context, name: str, pool: str, size_bytes: int
    ) -> Answer:
        clone = self.engine.resize_disk(
            arguments.pool(pool),
            arguments.name('name', name),
            arguments.size(size_bytes),
        )
        return _pack(clone)

    def delete_disk(self, ctxt: Context, name: str, pool: str) -> Answer:
        clone = self.engine.delete_disk(
            arguments.pool(pool),
            arguments.name('name', name),
            rpc.Caller.unpack(ctxt).call_id,
        )
        return _pack(clone)

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
        return [_pack(clone) for clone in clones]

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
            *arguments.disk_snapshot(pool, name, snapshot)
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
            *arguments.disk_snapshot(pool, name, snapshot)
        )

    def rollback_disk(
        self, ctxt: Context, name: str, pool: str, snapshot: str
    ) -> Answer:
        clone = self.snapshots.rollback_disk(
            *arguments.disk_snapshot(pool, name, snapshot)
        )
        return _pack(clone)

    def _get(self, name: str, pool: str) -> Clone:
        return self.engine.get_disk(
            arguments.pool(pool), arguments.name('name', name)
        )


def _pack(clone: Clone) -> Answer:
    return {
        'id': clone.id,
        'uuid': clone.uuid,
        'name': clone.image.name,
        'pool': clone.image.pool,
        'namespace': clone.image.namespace,
        'fsid': clone.image.fsid,
        'image_id': clone.image.id,
        'size_bytes': clone.size_bytes,
        'clone_format': int(clone.clone_format),
        'kind': str(clone.kind),
        'parent': clone.parent and _pack_parent(clone.parent),
        'attached': clone.attached,
        'glance_image_id': clone.glance_image_id,
        'instance_uuid': clone.instance_uuid,
        'project_id': clone.project_id,
        'host': clone.host,
        'state': str(clone.state),
        'reason': clone.reason,
        'created_at': clone.created_at.isoformat(),
    }


def _pack_parent(parent: Parent) -> Answer:
    image = parent.snapshot.image
    return {
        'id': parent.id,
        'pool': image.pool,
        'namespace': image.namespace,
        'image': image.name,
        'image_id': image.id,
        'snapshot': parent.snapshot.name,
        'snapshot_id': parent.snapshot.id,
        'size_bytes': parent.size_bytes,
    }


def _pack_outlook(outlook: Outlook) -> Answer:
    base = outlook.base
    return {
        'way': str(outlook.way),
        'reason': outlook.reason,
        'base': base and str(base.state),
    }


def _pack_verdict(verdict: Verdict) -> Answer:
    facts = verdict.facts
    return {
        'cloneable': verdict.cloneable,
        'location': verdict.location or None,
        'size_bytes': facts.size_bytes if facts else None,
        'refusals': [
            {'location': url, 'reason': str(why), 'message': why.sentence}
            for url, why in verdict.refusals
        ],
    }
