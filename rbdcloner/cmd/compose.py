# SPDX-License-Identifier: Apache-2.0
"""From options to rooms: the one place where they are wired together."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib
import socket
from typing import TYPE_CHECKING
from typing import Protocol
import uuid

from oslo_config import cfg
from oslo_messaging.notify.listener import NotificationServer

import rbdcloner
from rbdcloner import bindings
from rbdcloner import errors
from rbdcloner import notifications
from rbdcloner.ceph.driver import Cluster
from rbdcloner.ceph.driver import Driver
from rbdcloner.cloning import eligibility
from rbdcloner.cloning import permits
from rbdcloner.cloning.absence import Absence
from rbdcloner.cloning.absent_images import AbsentImages
from rbdcloner.cloning.adopting import Adopter
from rbdcloner.cloning.base_data import Data
from rbdcloner.cloning.base_data import Downloads
from rbdcloner.cloning.base_import import BaseImporter
from rbdcloner.cloning.base_upkeep import BaseUpkeep
from rbdcloner.cloning.bases import Bases
from rbdcloner.cloning.brake import Brake
from rbdcloner.cloning.disk_adoption import DiskAdoption
from rbdcloner.cloning.engine import Engine
from rbdcloner.cloning.fencing import Fence
from rbdcloner.cloning.flattening import Flattener
from rbdcloner.cloning.generation import Generation
from rbdcloner.cloning.headroom import Headroom
from rbdcloner.cloning.holding import Holder
from rbdcloner.cloning.importing import Imports
from rbdcloner.cloning.making import Maker
from rbdcloner.cloning.noted import Noted
from rbdcloner.cloning.parents import Images
from rbdcloner.cloning.parents import Parents
from rbdcloner.cloning.policy import Limits
from rbdcloner.cloning.pool_identity import PoolIdentity
from rbdcloner.cloning.reaper import Reaper
from rbdcloner.cloning.recovery import Recovery
from rbdcloner.cloning.releasing import Releaser
from rbdcloner.cloning.removing import Remover
from rbdcloner.cloning.repairing import Repairer
from rbdcloner.cloning.rollbacks import Rollbacks
from rbdcloner.cloning.snapshots import Snapshots
from rbdcloner.cloning.survey import Survey
from rbdcloner.cloning.warrants import Gate
from rbdcloner.db import engine as db_engine
from rbdcloner.db.lineage import Lineage
from rbdcloner.images import session
from rbdcloner.images import verification
from rbdcloner.images.glance import Glance
from rbdcloner.images.remembered import RememberingGlance
from rbdcloner.images.scratch import Scratch
from rbdcloner.manager import Manager
from rbdcloner.model import Base
from rbdcloner.model import CloneFormat
from rbdcloner.model import GlanceImage

if TYPE_CHECKING:
    from rbdcloner.ceph.librbd import LibrbdDriver

_MIB, _GIB = 2**20, 2**30
_DAY_S = 24 * 3600


class Glances(Images, Downloads, Protocol):
    """What the rooms together need of Glance."""


def lineage(conf: cfg.ConfigOpts) -> Lineage:
    """Return the lineage in the database that *conf* names; not connected."""
    return Lineage(db_engine.connect(**conf.database))


def ceph(conf: cfg.ConfigOpts, fence: Fence | None = None) -> LibrbdDriver:
    """Return a driver of the cluster that *conf* names; not connected.

    Ceph's Python modules are loaded here: most commands need none. *fence*
    records where it connects from.

    :raises ConfigurationError: a module cannot be loaded.
    """
    bindings.load()
    from rbdcloner.ceph.librbd import LibrbdDriver

    return LibrbdDriver(
        conffile=conf.ceph.conf,
        user=conf.ceph.user,
        timeout_s=conf.ceph.timeout,
        clone_format=CloneFormat(conf.ceph.clone_format),
        permit=permits.permit,
        recorder=fence,
    )


def glance(conf: cfg.ConfigOpts) -> RememberingGlance:
    """Return a client of the Glance that *conf* names; not connected."""
    return RememberingGlance(Glance(*session.load(conf)))


@dataclasses.dataclass(frozen=True, slots=True)
class Service:
    """Every room of one process, over one connected driver."""

    manager: Manager
    recovery: Recovery
    reaper: Reaper
    survey: Survey
    absent_images: AbsentImages
    flattener: Flattener
    noted: Noted
    importer: BaseImporter
    upkeep: BaseUpkeep
    generation: Generation


def service(
    conf: cfg.ConfigOpts, rows: Lineage, owner: str
) -> tuple[LibrbdDriver, Service]:
    """Return *owner*'s rooms over a driver, and that, connected."""
    fence = Fence(rows, owner, conf.lease)
    driver = ceph(conf, fence)
    fence.shut_out = driver.shut_out
    driver.connect()
    refuse_other_cluster(rows, driver)
    rows = rows.of_cluster(driver.fsid)
    identity = PoolIdentity(driver, rows)
    for pool in sorted(pools(conf)):
        # Another one is told of where it matters.
        with contextlib.suppress(errors.CephError):
            identity.check(pool)
    holder = Holder(rows, owner, conf.lease, fence)
    made = rooms(conf, driver, holder, glance(conf))
    made.generation.look()
    return driver, made


def refuse_other_cluster(rows: Lineage, driver: Driver) -> None:
    """Return if the database has the lineage of the driver's cluster, or none.

    What is not in its cluster a lineage would take for gone.

    :raises ConfigurationError: it has another's.
    """
    others = rows.clusters() - {driver.fsid}
    if others:
        raise errors.ConfigurationError(
            problem='The database has the lineage of cluster '
            f'{", ".join(sorted(others))}, this cluster is {driver.fsid}',
            remedy='Give each cluster a database of its own: set "connection" '
            'in [database], or "conf" in [ceph]',
        )


def pools(conf: cfg.ConfigOpts) -> frozenset[str]:
    """Return the pools that rows are about."""
    named = {*conf.ceph.disk_pools, *conf.ceph.image_pools, base_pool(conf)}
    return frozenset(named)


def rooms(
    conf: cfg.ConfigOpts, driver: Cluster, holder: Holder, images: Glances
) -> Service:
    """Return the rooms over what talks to the outside."""
    rows = holder.lineage
    generation = Generation(driver, rows, marked_pools(conf))
    gate = Gate(driver, rows, generation)
    releaser = Releaser(driver, rows, gate, generation)
    remover = Remover(
        driver,
        rows,
        gate,
        releaser,
        holder,
        generation,
        conf.safety.undo_delay,
    )
    maker = Maker(driver, rows, remover, holder)
    rollbacks = Rollbacks(driver, rows, gate, generation, holder)
    repairer = Repairer(driver, rows, maker)
    headroom = Headroom(rows, _limits(conf))
    clone_format = CloneFormat(conf.ceph.clone_format)
    disk_pools = frozenset(conf.ceph.disk_pools)
    bases = _bases(conf, rows, driver.fsid)
    engine = Engine(
        fsid=driver.fsid,
        lineage=rows,
        parents=Parents(
            driver,
            rows,
            images,
            releaser,
            repairer,
            headroom,
            bases,
            clone_format,
        ),
        maker=maker,
        remover=remover,
        holder=holder,
        clone_format=clone_format,
        disk_pools=disk_pools,
    )
    image_pools = frozenset(conf.ceph.image_pools)
    snapshots = Snapshots(
        engine, driver, releaser, rollbacks, headroom, image_pools
    )
    absence = Absence(
        rows, images, _brake(conf, rows, driver), conf.safety.absence_delay
    )
    adopter = Adopter(driver, rows, absence, clone_format)
    absent_images = AbsentImages(engine, absence, adopter)
    identity = PoolIdentity(driver, rows)
    survey = Survey(
        engine,
        absent_images,
        repairer,
        identity,
        pools(conf),
        conf.flatten.retired_after,
        conf.flatten.alert_children,
    )
    reaper = Reaper(
        rows, remover, releaser, adopter, identity, holder, conf.reapers
    )
    noted = Noted(driver, DiskAdoption(engine, driver), disk_pools)
    return Service(
        Manager(
            engine,
            snapshots,
            Imports(engine, driver),
            noted,
            rbdcloner.__version__,
            conf.workers,
        ),
        Recovery(
            rows,
            releaser,
            maker,
            remover,
            rollbacks,
            holder,
            conf.recovery_interval,
        ),
        reaper,
        survey,
        absent_images,
        Flattener(
            driver,
            rows,
            reaper,
            holder,
            conf.flatten.limit,
            conf.flatten.mib_per_s,
        ),
        noted,
        BaseImporter(
            driver,
            rows,
            maker,
            holder,
            _data(conf, driver, images),
            base_pool(conf),
            clone_format,
            conf.imports.limit,
            conf.imports.glance_store,
            notifications.sender(conf, conf.host),
        ),
        BaseUpkeep(
            rows, absence, remover, conf.imports.base_idle_days * _DAY_S
        ),
        generation,
    )


def _brake(conf: cfg.ConfigOpts, rows: Lineage, driver: Driver) -> Brake:
    safety = conf.safety
    return Brake(rows, driver.fsid, safety.brake_limit, safety.brake_percent)


def base_pool(conf: cfg.ConfigOpts) -> str:
    """Return the pool that images are imported into."""
    return str(conf.imports.pool or min(conf.ceph.disk_pools, default=''))


def marked_pools(conf: cfg.ConfigOpts) -> frozenset[str]:
    """Return the pools that have a mark of the lineage: those of its disks.

    And of bases. Glance's pools may be others' to write.
    """
    return frozenset(conf.ceph.disk_pools) | {base_pool(conf)}


def scratch(conf: cfg.ConfigOpts) -> Scratch:
    """Return the scratch folder of this host; it need not exist."""
    folder = pathlib.Path(conf.imports.scratch_dir)
    return Scratch(folder, conf.imports.scratch_mib * _MIB)


def _data(conf: cfg.ConfigOpts, driver: Driver, images: Downloads) -> Data:
    imports = conf.imports

    def signatures(image: GlanceImage) -> verification.Verifier | None:
        if not imports.verify_signatures:
            return None
        return verification.verifier_of(image, verification.credentials(conf))

    return Data(
        driver,
        images,
        scratch(conf),
        imports.max_size_gib * _GIB,
        imports.mib_per_s,
        signatures,
    )


def adopter(conf: cfg.ConfigOpts, rows: Lineage) -> tuple[LibrbdDriver, Noted]:
    """Return who adopts disks for a command, over a driver, connected."""
    driver = ceph(conf)
    driver.connect()
    holder = Holder(rows, owner(), conf.lease)
    return driver, rooms(conf, driver, holder, glance(conf)).noted


def wanted_base(
    conf: cfg.ConfigOpts, rows: Lineage, image_id: str
) -> Base | None:
    """Have an image imported, for a command; None if it can be cloned.

    :raises ImageError: it is not to be had, or not fit for an import.
    """
    driver = ceph(conf)
    driver.connect()
    try:
        image = glance(conf).look(image_id)
        eligibility.check_usable(image)
        if eligibility.judge(image, driver).cloneable:
            return None
        return _bases(conf, rows, driver.fsid).want(image, again=True)
    finally:
        driver.close()


def _bases(conf: cfg.ConfigOpts, rows: Lineage, fsid: str) -> Bases:
    return Bases(rows, fsid, conf.imports.limit, conf.imports.glance_store)


def listener(
    conf: cfg.ConfigOpts, rooms: Service
) -> notifications.Listener | None:
    """Return who hears of Glance's deletions; ``None`` where that is off."""
    wanted = conf.notifications
    if not wanted.topics:
        return None

    def follow(image_id: str) -> None:
        rooms.absent_images.image_deleted(image_id)
        # What was adopted may have lost its last child just before.
        rooms.reaper.remover.retired.set()

    def connect() -> NotificationServer:
        sent = notifications.transport(
            conf,
            wanted.transport_url,
            wanted.amqp_durable_queues,
            wanted.rabbit_quorum_queue,
        )
        return notifications.server(
            sent, wanted.exchange, wanted.topics, wanted.pool, follow
        )

    return notifications.Listener(connect)


def _limits(conf: cfg.ConfigOpts) -> Limits:
    return Limits(
        soft_depth=conf.flatten.soft_depth,
        hard_depth=conf.flatten.hard_depth,
        soft_snapshots=conf.flatten.soft_snapshots,
        hard_snapshots=conf.flatten.hard_snapshots,
    )


def owner() -> str:
    """Return a name for this process that no other ever has."""
    return f'{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}'
