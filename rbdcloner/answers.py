# SPDX-License-Identifier: Apache-2.0
"""What a caller gets: our nouns as plain dicts."""

from typing import Any

from rbdcloner.cloning.bases import Outlook
from rbdcloner.cloning.eligibility import Verdict
from rbdcloner.model import Clone
from rbdcloner.model import Parent

Answer = dict[str, Any]


def disk(clone: Clone) -> Answer:
    """Return a disk, as :mod:`rbdcloner.rpcapi` says."""
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
        'parent': clone.parent and _parent(clone.parent),
        'attached': clone.attached,
        'glance_image_id': clone.glance_image_id,
        'instance_uuid': clone.instance_uuid,
        'project_id': clone.project_id,
        'host': clone.host,
        'state': str(clone.state),
        'reason': clone.reason,
        'created_at': clone.created_at.isoformat(),
    }


def cloneable(verdict: Verdict, outlook: Outlook | None) -> Answer:
    """Return what :mod:`rbdcloner.rpcapi` says of ``is_cloneable``."""
    facts = verdict.facts
    return {
        'cloneable': verdict.cloneable,
        'location': verdict.location or None,
        'size_bytes': facts.size_bytes if facts else None,
        'refusals': [
            {'location': url, 'reason': str(why), 'message': why.sentence}
            for url, why in verdict.refusals
        ],
        'import': outlook and _outlook(outlook),
    }


def _parent(parent: Parent) -> Answer:
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


def _outlook(outlook: Outlook) -> Answer:
    base = outlook.base
    return {
        'way': str(outlook.way),
        'reason': outlook.reason,
        'base': base and str(base.state),
    }
