# SPDX-License-Identifier: Apache-2.0
"""What the service needs before it can work: what is wrong, what to do."""

from __future__ import annotations

from collections.abc import Iterator
import dataclasses
from typing import TYPE_CHECKING

from oslo_config import cfg

from rbdcloner import conf as options
from rbdcloner import dispatch
from rbdcloner import errors
from rbdcloner import rpc
from rbdcloner.ceph.driver import Driver
from rbdcloner.cloning.generation import Generation
from rbdcloner.cmd import compose
from rbdcloner.db import engine
from rbdcloner.db import migration
from rbdcloner.images import conversion
from rbdcloner.images import session
from rbdcloner.images import verification
from rbdcloner.images.glance import Glance
from rbdcloner.model import PoolFacts

if TYPE_CHECKING:
    from rbdcloner.ceph.librbd import LibrbdDriver

_SYNC = 'Run "rbdcloner-manage db sync"'

_RESTORED = f'{_SYNC}, then "rbdcloner-manage db restored"'
_GIVE_POOL = (
    'Correct "connection" in [database] or the pools in [ceph]; or, if the '
    'pool is to belong to this database, run "rbdcloner-manage db restored '
    '--take POOL"'
)


@dataclasses.dataclass(frozen=True, slots=True)
class Problem:
    """Something that is wrong, and its cure.

    A fatal one keeps the service from answering anything.
    """

    what: str
    remedy: str
    fatal: bool = True

    def __str__(self) -> str:
        return f'{self.what}. {self.remedy}.'


def problems(conf: cfg.ConfigOpts) -> list[Problem]:
    """Return all that is wrong; connects to Ceph, Glance and the database."""
    found = [
        *configuration_problems(conf),
        *database_problems(conf),
        *ceph_problems(conf),
    ]
    if any(problem.fatal for problem in found):
        return found
    return [
        *found,
        *lineage_problems(conf),
        *glance_problems(conf),
        *import_problems(conf),
    ]


def configuration_problems(conf: cfg.ConfigOpts) -> Iterator[Problem]:
    """Yield what is wrong with the options themselves; connects to nothing.

    :raises oslo_config.cfg.Error: a value is nonsense
    """
    options.read(conf)
    try:
        dispatch.check(rpc.transport(conf))
    except errors.ConfigurationError as exc:
        yield _as_it_says(exc)
    try:
        session.load(conf)
    except errors.ConfigurationError as exc:
        yield _as_it_says(exc)


def database_problems(conf: cfg.ConfigOpts) -> Iterator[Problem]:
    """Yield what is wrong with the lineage database."""
    if not conf.database.connection:
        yield Problem(
            'No lineage database is configured',
            'Set "connection" in [database]',
        )
        return
    try:
        older = migration.check(engine.connect(**conf.database))
    except errors.DatabaseRevision as exc:
        yield Problem(str(exc).rstrip('.'), _SYNC)
    except errors.ConfigurationError as exc:
        yield _as_it_says(exc)
    except errors.Error as exc:
        yield Problem(str(exc).rstrip('.'), 'Check [database] connection')
    else:
        if older:
            yield Problem(
                f'The lineage database is at revision {older} of the release '
                'before: managers are not recorded, and one that hangs is not '
                'shut out of Ceph',
                f'{_SYNC}; managers of either release go on meanwhile',
                fatal=False,
            )


def broker_problems(conf: cfg.ConfigOpts) -> Iterator[Problem]:
    """Yield why RabbitMQ takes no request with the service's credentials.

    A ping is published once. A manager that receives it answers nobody. No
    part of :func:`problems`: a manager waits for a broker that is down.
    """
    client = rpc.client(rpc.transport(conf), version_cap=None, retry=0)
    try:
        client.cast(rpc.Caller().pack(), 'ping')
    except Exception as exc:
        # oslo.messaging's, kombu's or amqp's: they have no ancestor in common.
        yield Problem(
            f'RabbitMQ takes no requests: {str(exc).rstrip(".")}',
            'Check "transport_url" in [DEFAULT], and the permissions of its '
            'user in its virtual host',
        )


def glance_problems(conf: cfg.ConfigOpts) -> Iterator[Problem]:
    """Yield what keeps Glance's answers from being relied upon.

    None is fatal: disks that are there are served without Glance.
    """
    images = Glance(*session.load(conf))
    try:
        roles = images.roles()
    except errors.Error as exc:
        yield _of_glance(
            f'Keystone gives no token for Glance: {exc}',
            'Check the credentials in [glance]',
        )
        return
    has = f' (it has {roles})' if roles else ''
    try:
        images.confirm_sight()
        sample = images.sample()
        if sample and not images.image(sample).locations:
            yield _of_glance(
                f'Glance shows no location of image {sample}: nothing is '
                'cloned',
                f'Give the user in [glance] the role service{has}',
            )
    except errors.GlanceForbidden:
        yield _of_glance(
            'Glance does not show this service the images of other projects: '
            'their disks are refused, and no image that Glance has not is '
            'taken for deleted, so that no space comes back',
            f'Give the user in [glance] the role admin{has}',
        )
    except errors.Error as exc:
        yield _of_glance(str(exc), 'Check Glance and [glance]')


def _of_glance(what: str, remedy: str) -> Problem:
    return Problem(what.rstrip('.'), remedy, fatal=False)


def ceph_problems(conf: cfg.ConfigOpts) -> Iterator[Problem]:
    """Yield what is wrong with the cluster, its pools and our key."""
    try:
        driver = compose.ceph(conf)
        driver.connect()
    except errors.ConfigurationError as exc:
        yield _as_it_says(exc)
        return
    except errors.CephAuthentication as exc:
        yield Problem(exc.kwargs['problem'], exc.kwargs['remedy'])
        return
    except errors.Error as exc:
        yield Problem(
            str(exc).rstrip('.'),
            f'Check Ceph and "conf" in [ceph] ({conf.ceph.conf})',
        )
        return
    try:
        for pool in conf.ceph.disk_pools:
            yield from _pool_problems(driver, pool, conf.ceph.user, True)
        for pool in conf.ceph.image_pools:
            yield from _pool_problems(driver, pool, conf.ceph.user, False)
        yield from _fencing_problems(driver, conf.ceph.user)
    finally:
        driver.close()


def lineage_problems(conf: cfg.ConfigOpts) -> Iterator[Problem]:
    """Yield what keeps a good database and a good cluster apart.

    Whatever is not in its cluster a lineage takes for gone.
    """
    driver = compose.ceph(conf)
    driver.connect()
    try:
        compose.refuse_other_cluster(compose.lineage(conf), driver)
    except errors.ConfigurationError as exc:
        yield _as_it_says(exc)
    finally:
        driver.close()


def generation_problems(conf: cfg.ConfigOpts) -> Iterator[Problem]:
    """Yield why nothing in the pools is destroyed; changes nothing.

    None is fatal: disks are made meanwhile. Nothing where the database or the
    cluster does not answer, which is told elsewhere.
    """
    try:
        driver = compose.ceph(conf)
        driver.connect()
    except errors.Error:
        return
    try:
        pools = compose.marked_pools(conf)
        generation = Generation(driver, compose.lineage(conf), pools)
        found = generation.see()
        if found.summary:
            others = found.database is not None and generation.strangers(
                found, []
            )
            yield Problem(
                f'Nothing is destroyed: {found.summary}',
                _GIVE_POOL if others else _RESTORED,
                fatal=False,
            )
    except errors.Error:
        return
    finally:
        driver.close()


def import_problems(conf: cfg.ConfigOpts) -> Iterator[Problem]:
    """Yield what keeps images that cannot be cloned from being imported.

    None is fatal: a cloud that has only raw images in its cluster needs no
    imports, and can say so.
    """
    if not conf.imports.limit:
        return
    for error in conversion.lacks():
        yield _of_imports(error, 'images that are not raw are not imported')
    try:
        compose.scratch(conf).check()
    except errors.ConfigurationError as exc:
        yield _of_imports(exc, 'images that are not raw are not imported')
    if conf.imports.verify_signatures:
        try:
            verification.credentials(conf)
        except errors.ConfigurationError as exc:
            yield _of_imports(exc, 'nothing is imported')
    yield from _base_pool_problems(conf)


def _as_it_says(error: errors.ConfigurationError) -> Problem:
    return Problem(error.kwargs['problem'], error.kwargs['remedy'])


def _of_imports(error: errors.ConfigurationError, so: str) -> Problem:
    return Problem(
        f'{error.kwargs["problem"]}: {so}',
        f'{error.kwargs["remedy"]}, or set "limit" in [imports] to 0',
        fatal=False,
    )


def _base_pool_problems(conf: cfg.ConfigOpts) -> Iterator[Problem]:
    pool = compose.base_pool(conf)
    if pool in conf.ceph.disk_pools:
        return
    try:
        driver = compose.ceph(conf)
        driver.connect()
    except errors.Error:
        # That is told of where Ceph is looked at.
        return
    try:
        for problem in _pool_problems(driver, pool, conf.ceph.user, True):
            what = f'{problem.what}: nothing is imported'
            yield dataclasses.replace(problem, what=what, fatal=False)
    finally:
        driver.close()


def _fencing_problems(driver: LibrbdDriver, user: str) -> Iterator[Problem]:
    try:
        may = driver.may_shut_out()
    except errors.Error as exc:
        yield Problem(str(exc).rstrip('.'), "Check the cluster's health")
        return
    if not may:
        yield Problem(
            f'The key client.{user} may not shut out of Ceph a manager that '
            'hangs: what that has begun may still happen',
            f'Run "ceph auth caps client.{user}" with mon "profile rbd"',
            fatal=False,
        )


def _pool_problems(
    driver: Driver, pool: str, user: str, disks: bool
) -> Iterator[Problem]:
    try:
        facts = driver.probe(pool)
    except errors.Error as exc:
        yield Problem(str(exc).rstrip('.'), "Check the cluster's health")
        return
    grant = (
        f'Run "ceph auth caps client.{user}" with "profile rbd pool={pool}"'
    )
    if not facts.exists:
        yield Problem(
            f'Ceph has no pool {pool}',
            f'Run "ceph osd pool create {pool}" and "rbd pool init {pool}", '
            'or correct the name in the configuration',
        )
    elif not facts.readable:
        yield Problem(f'The key client.{user} may not read {pool}', grant)
    elif not facts.initialised:
        yield Problem(
            f'Pool {pool} is not initialised for RBD',
            f'Run "rbd pool init {pool}"',
        )
    else:
        yield from _write_problems(facts, pool, user, grant, disks)
        yield from _data_problems(facts, user)


def _data_problems(facts: PoolFacts, user: str) -> Iterator[Problem]:
    if not facts.data_usable:
        data_pool = facts.data_pool
        yield Problem(
            f'The key client.{user} may not read and write {data_pool}, where '
            f'images of pool {facts.pool} have their data '
            '("rbd_default_data_pool"): they could be made, but not removed',
            f'Run "ceph auth caps client.{user}" with "profile rbd '
            f'pool={data_pool}" beside its other caps',
        )


def _write_problems(
    facts: PoolFacts, pool: str, user: str, grant: str, disks: bool
) -> Iterator[Problem]:
    if facts.full:
        yield Problem(f'Pool {pool} is full', 'Make room in it', fatal=False)
    elif not facts.writable and disks:
        yield Problem(f'The key client.{user} may not write {pool}', grant)
    elif not facts.writable:
        yield Problem(
            f'The key client.{user} may not write {pool}: snapshots there '
            'cannot be protected or cleaned up',
            grant,
            fatal=False,
        )
