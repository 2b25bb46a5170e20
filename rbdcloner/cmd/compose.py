# SPDX-License-Identifier: Apache-2.0
"""From options to rooms: the one place where they are wired together."""

import os
import socket
import uuid

from oslo_config import cfg

import rbdcloner
from rbdcloner.ceph.librbd import LibrbdDriver
from rbdcloner.cloning.engine import Engine
from rbdcloner.cloning.holding import Holder
from rbdcloner.cloning.making import Maker
from rbdcloner.cloning.parents import Parents
from rbdcloner.cloning.recovery import Recovery
from rbdcloner.db import engine as db_engine
from rbdcloner.db.lineage import Lineage
from rbdcloner.images import session
from rbdcloner.images.glance import Glance
from rbdcloner.images.remembered import RememberingGlance
from rbdcloner.manager import Manager
from rbdcloner.model import CloneFormat


def lineage(conf: cfg.ConfigOpts) -> Lineage:
    """Return the lineage in the database that *conf* names; not connected."""
    return Lineage(db_engine.connect(**conf.database))


def ceph(conf: cfg.ConfigOpts) -> LibrbdDriver:
    """Return a driver of the cluster that *conf* names; not connected."""
    return LibrbdDriver(
        conffile=conf.ceph.conf,
        user=conf.ceph.user,
        timeout_s=conf.ceph.timeout,
        clone_format=CloneFormat(conf.ceph.clone_format),
    )


def glance(conf: cfg.ConfigOpts) -> RememberingGlance:
    """Return a client of the Glance that *conf* names; not connected."""
    return RememberingGlance(Glance(*session.load(conf)))


def engine(conf: cfg.ConfigOpts, driver: LibrbdDriver) -> Engine:
    """Return the engine over *driver*, which is connected."""
    rows = lineage(conf)
    clone_format = CloneFormat(conf.ceph.clone_format)
    holder = Holder(rows, _owner())
    parents = Parents(driver, rows, glance(conf), clone_format)
    return Engine(
        fsid=driver.fsid,
        lineage=rows,
        parents=parents,
        maker=Maker(driver, rows, parents, holder),
        holder=holder,
        clone_format=clone_format,
        disk_pools=frozenset(conf.ceph.disk_pools),
    )


def manager(conf: cfg.ConfigOpts, engine: Engine) -> Manager:
    """Return the RPC endpoint over *engine*."""
    return Manager(engine, rbdcloner.__version__, conf.workers)


def recovery(conf: cfg.ConfigOpts, engine: Engine) -> Recovery:
    """Return what resolves the rows that nobody works on any more."""
    return Recovery(
        lineage=engine.lineage,
        parents=engine.parents,
        maker=engine.maker,
        holder=engine.holder,
        idle_s=conf.recovery_interval,
    )


def _owner() -> str:
    """Return a name for this process that no other ever has."""
    return f'{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}'
