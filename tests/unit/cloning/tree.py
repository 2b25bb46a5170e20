# SPDX-License-Identifier: Apache-2.0
"""Trees of disks and Glance images, and what others do to them.

A tree grows as Nova and Glance grow it: a disk of an image, an image of the
disk, a disk of that.
"""

import uuid

import sqlalchemy as sa
import tenacity

from rbdcloner import states
from rbdcloner.cloning.image_release import ImageRelease
from rbdcloner.model import Clone
from rbdcloner.model import Filters
from rbdcloner.model import GlanceImage
from rbdcloner.model import GlanceLocation
from rbdcloner.model import Image
from rbdcloner.model import Parent
from rbdcloner.states import FlattenState
from rbdcloner.states import ParentState
from tests.unit.cloning import service
from tests.unit.cloning.service import Process
from tests.unit.cloning.service import Service

_NAMES = uuid.UUID('3b8bb3c5-0c67-4b0f-8d5a-6a1b8a0f5d11')


def name_of(image_id: str) -> str:
    """Return the name of the disk that :func:`launch` makes of an image."""
    return f'{image_id}_disk'


def next_id(image_id: str) -> str:
    """Return the id of the image that is made of the image's disk."""
    return str(uuid.uuid5(_NAMES, image_id))


def launch(process: Process, image_id: str) -> Clone:
    """Make the disk of an image."""
    return process.engine.create_disk(
        service.request(
            image_id, name=name_of(image_id), instance_uuid=image_id
        )
    )


def delete(process: Process, image_id: str) -> Clone:
    """Delete the disk of an image."""
    return process.engine.delete_disk('vms', name_of(image_id))


def snapshot(process: Process, image_id: str) -> str:
    """Make the image's disk a Glance image; its location."""
    return process.snapshots.snapshot_disk(
        'vms', name_of(image_id), next_id(image_id), 'images'
    )


def register(world: Service, image_id: str, location: str) -> None:
    """Have Glance know the image at a location."""
    world.glance.images[image_id] = GlanceImage(
        id=image_id,
        status='active',
        disk_format='raw',
        size_bytes=2 * service.MIB,
        hidden=False,
        visibility='public',
        owner=service.PROJECT,
        members=frozenset(),
        locations=(GlanceLocation(location),),
    )


def grow(world: Service, generations: int, protected: bool = True) -> str:
    """Make a golden image and a chain of disks, with images between them.

    Each disk holds its generation's number at 1000 times that; the id of the
    golden image.
    """
    process = world.process()
    golden = image_id = world.add_image(protected=protected)
    for generation in range(generations):
        if generation:
            location = snapshot(process, image_id)
            image_id = next_id(image_id)
            register(world, image_id, location)
        disk = launch(process, image_id)
        at = 1000 * (generation + 1)
        world.ceph.write(disk.image, at, b'%d' % (generation + 1))
    return golden


def ids(golden: str, generations: int) -> list[str]:
    """Return the ids of the images whose disks :func:`grow` made."""
    found = [golden]
    while len(found) < generations:
        found.append(next_id(found[-1]))
    return found


def glance_deletes(world: Service, image_id: str) -> None:
    """Delete an image as Glance does, in its store and then in Glance."""
    world.ceph.glance_delete(Image(world.ceph.fsid, 'images', '', image_id))
    forget(world, image_id)


def forget(world: Service, image_id: str) -> None:
    """Have Glance forget an image."""
    del world.glance.images[image_id]


def row(process: Process, clone: Clone) -> Clone:
    """Return the clone's row as it is now."""
    (found,) = process.lineage.page(Filters(uuid=clone.uuid))
    return found


def parent(process: Process, known: Parent) -> Parent:
    """Return the parent's row as it is now."""
    (found,) = process.lineage.parents([known.id])
    return found


def make_due(process: Process) -> None:
    """End the pauses between attempts, as time would."""
    with process.lineage.writer.begin() as connection:
        for table in ('clones', 'flattens'):
            connection.execute(
                sa.text(f'UPDATE {table} SET retry_at = NULL')  # noqa: S608
            )


def expire(process: Process) -> None:
    """End all leases, as time would."""
    with process.lineage.writer.begin() as connection:
        for table in ('clones', 'flattens'):
            connection.execute(
                sa.text(
                    f'UPDATE {table} SET'  # noqa: S608
                    " lease_expires_at = '2001-01-01 00:00:00.000000'"
                    ' WHERE lease_expires_at IS NOT NULL'
                )
            )


def settle(process: Process) -> None:
    """Recover, flatten and reap until nothing is left to do."""
    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_result(bool),
        wait=tenacity.wait_fixed(0.002),
        stop=tenacity.stop_after_delay(10),
    )

    def work() -> list[object]:
        process.recovery.sweep()
        process.flattener.run_next()
        process.reaper.sweep()
        return unfinished(process)

    retrying(work)


def unfinished(process: Process) -> list[object]:
    """Return the rows that somebody has to go on with."""
    lineage = process.lineage
    in_progress = tuple(states.IN_PROGRESS)
    live = (FlattenState.WANTED, FlattenState.RUNNING)
    return [
        *lineage.page(Filters(states=in_progress)),
        *lineage.reapable(10),
        *lineage.unneeded_parents(0, 10),
        *lineage.flattens(live),
        *(
            each
            for each in lineage.parents()
            if each.state in (ParentState.PLANNED, ParentState.RELEASING)
        ),
    ]


def release(process: Process) -> ImageRelease:
    """Return what an administrator works with."""
    return ImageRelease(
        process.lineage, process.engine.clone_format, 'an administrator'
    )
