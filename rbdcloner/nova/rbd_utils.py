# SPDX-License-Identifier: Apache-2.0
"""What nova-compute reads of Ceph, on one kept RADOS connection.

Nova's own code connects anew for each look at an image, and runs the ceph
command for the rest. Here an image is not even opened: RADOS answers from its
header. What Nova's own code changes, when no manager answers, it does in its
own way.
"""

from collections.abc import Callable
from collections.abc import Sequence
import contextlib
import errno
import json
import os
import struct
import types
from typing import Any
import weakref

from nova import exception
from nova import utils
import nova.conf
from nova.storage import rbd_utils
import rados
import rbd

CONF = nova.conf.CONF

#: A manager finds in this object's omap what no manager was there for.
UNADOPTED = 'rbdcloner.unadopted'

#: An operation that takes so long has failed.
_TIMEOUT_S = '30'

# Of the image, not of a snapshot.
_HEAD = struct.pack('<Q', 2**64 - 2)
_MAX_ID = 256

_OF_NO_USE = (errno.ESHUTDOWN, errno.ETIMEDOUT)
_NO_SUCH_NOTE = (errno.ECANCELED, errno.ENOENT)

#: By process, user and configuration. No lock: under eventlet callers are
#: native threads and green ones.
_kept: dict[tuple[int, str, str], '_Connection'] = {}


def natively(act: Callable[[], Any]) -> Any:
    """Return what *act* returns; under eventlet a native thread runs it."""
    if hasattr(utils, 'tpool_wrap'):
        return utils.tpool_wrap(types.SimpleNamespace(act=act)).act()
    # Nova 31 and 32, whose nova-compute runs under eventlet only.
    return utils.tpool_execute(act)


def says_exists(exc: BaseException) -> bool:
    """Tell whether librbd, or the rbd command, found the name taken."""
    code = getattr(exc, 'exit_code', 0)
    return isinstance(exc, rbd.ImageExists) or code == errno.EEXIST


class RBDDriver(rbd_utils.RBDDriver):
    """Nova's, but for what is only read."""

    def exists(
        self, name: str, pool: str | None = None, snapshot: str | None = None
    ) -> bool:
        """Tell whether the pool has an image, or a snapshot, of that name."""
        if snapshot is not None:
            return bool(super().exists(name, pool, snapshot))
        found = self.at_pool(lambda ioctx: _size(ioctx, name), pool)
        return found is not None

    def taken(self, names: Sequence[str]) -> list[str]:
        """Return those of *names* that images have, be they whole or not.

        RADOS is asked for all at once.
        """

        def look(ioctx: Any) -> list[str]:
            asked = [
                (name, ioctx.aio_stat(f'rbd_id.{name}', lambda *said: None))
                for name in names
            ]
            return [name for name, answer in asked if _is_there(answer)]

        return list(self.at_pool(look))

    def size(self, name: str) -> int:
        """Return the size of an image in bytes.

        :raises rbd.ImageNotFound: there is none.
        """
        found = self.at_pool(lambda ioctx: _size(ioctx, name))
        if found is None:
            raise rbd.ImageNotFound(f'{self.pool}/{name}', errno=errno.ENOENT)
        return int(found)

    def get_mon_addrs(
        self, strip_brackets: bool = True
    ) -> tuple[list[str], list[str]]:
        """Return the hosts and the ports of the monitors."""
        hosts, ports = [], []
        for mon in self._ask('mon dump')['mons']:
            host, _, port = mon['addr'].rpartition('/')[0].rpartition(':')
            hosts.append(host.strip('[]') if strip_brackets else host)
            ports.append(port)
        return hosts, ports

    def get_pool_info(self) -> dict[str, int]:
        """Return what the pool has in all, free and used, in bytes."""
        told = self._ask('df')
        for pool in told['pools']:
            if pool['name'] == self.pool:
                return {
                    'total': told['stats']['total_bytes'],
                    'free': pool['stats']['max_avail'],
                    'used': pool['stats']['bytes_used'],
                }
        raise exception.NotFound(f'Pool {self.pool} could not be found.')

    def cleanup_volumes(self, filter_fn: Callable[[str], bool]) -> None:
        """Do nothing: who deletes by a filter lists the pool.

        Nova's driver calls it when a server is not rescued any more, and
        ours asks by instance after that.
        """

    def cleanup_alone(self, instance_uuid: str, suffix: str) -> None:
        """Remove an instance's images that end so, as Nova's own code does."""
        super().cleanup_volumes(
            lambda name: (
                name.startswith(instance_uuid) and name.endswith(suffix)
            )
        )

    def note_unadopted(self, name: str, facts: dict[str, str]) -> None:
        """Let a manager know of an image that was made without it."""
        self._note(name, facts)

    def strike_unadopted(self, name: str, facts: dict[str, str]) -> None:
        """Remove the note of an image, if it still has these *facts*."""

        def strike(ioctx: Any) -> None:
            with rados.WriteOpCtx() as operation:
                operation.omap_cmp(name, json.dumps(facts))
                ioctx.remove_omap_keys(operation, (name,))
                try:
                    ioctx.operate_write_op(operation, UNADOPTED)
                except rados.Error as exc:
                    if getattr(exc, 'errno', 0) not in _NO_SUCH_NOTE:
                        raise

        self.at_pool(strike)

    def note_unwanted(self, instance_uuid: str) -> None:
        """Let a manager delete an instance's disks that none answered for."""
        self._note(
            f'{instance_uuid}_unwanted',
            {'instance_uuid': instance_uuid, 'unwanted': 'yes'},
        )

    def _note(self, name: str, facts: dict[str, str]) -> None:
        def note(ioctx: Any) -> None:
            with rados.WriteOpCtx() as operation:
                value = json.dumps(facts).encode()
                ioctx.set_omap(operation, (name,), (value,))
                ioctx.operate_write_op(operation, UNADOPTED)

        self.at_pool(note)

    def at_pool(
        self, act: Callable[[Any], Any], pool: str | None = None
    ) -> Any:
        """Return what *act* makes of the pool's I/O context."""

        def acted(cluster: Any) -> Any:
            with contextlib.closing(
                cluster.open_ioctx(pool or self.pool)
            ) as ioctx:
                return act(ioctx)

        return natively(lambda: self._at_cluster(acted))

    def _ask(self, prefix: str) -> Any:
        """Return what the monitors answer to a command."""
        command = json.dumps({'prefix': prefix, 'format': 'json'})

        def asked(cluster: Any) -> Any:
            return cluster.mon_command(command, b'')

        code, answer, said = natively(lambda: self._at_cluster(asked))
        if code:
            raise exception.StorageError(reason=f'ceph {prefix}: {said}')
        return json.loads(answer)

    def _at_cluster(self, act: Callable[[Any], Any]) -> Any:
        """Do *act* on the kept connection; anew if Ceph has shut that out."""
        connection = self._connected()
        try:
            return act(connection.cluster)
        except (rados.Error, rbd.Error) as exc:
            if getattr(exc, 'errno', 0) not in _OF_NO_USE:
                raise
            self._forget(connection)
            if exc.errno != errno.ESHUTDOWN:
                raise
        return act(self._connected().cluster)

    @property
    def _key(self) -> tuple[int, str, str]:
        return os.getpid(), self.rbd_user or '', self.ceph_conf or ''

    def _connected(self) -> '_Connection':
        known = _kept.get(self._key)
        # Two threads may connect at once; the first one's is kept.
        return known or _kept.setdefault(self._key, self._connect())

    def _forget(self, connection: '_Connection') -> None:
        if _kept.get(self._key) is connection:
            _kept.pop(self._key, None)

    def _connect(self) -> '_Connection':
        cluster = rados.Rados(
            rados_id=self.rbd_user,
            conffile=self.ceph_conf,
            conf={
                'rados_mon_op_timeout': _TIMEOUT_S,
                'rados_osd_op_timeout': _TIMEOUT_S,
            },
        )
        try:
            cluster.connect(timeout=self.rbd_connect_timeout)
        except rados.Error:
            cluster.shutdown()
            raise
        return _Connection(cluster)


class _Connection:
    """A RADOS connection that ends with its last user."""

    def __init__(self, cluster: Any) -> None:
        self.cluster = cluster
        # Not at the end of a process: it may be a child of the one that
        # connected.
        weakref.finalize(self, cluster.shutdown).atexit = False


def _is_there(answer: Any) -> bool:
    """Tell whether the object is there that RADOS was asked about."""
    answer.wait_for_complete_and_cb()
    code = answer.get_return_value()
    if code < 0 and code != -errno.ENOENT:
        raise rados.OSError('stat', errno=-code)
    return bool(code >= 0)


def _size(ioctx: Any, name: str) -> int | None:
    """Return the size of an image in bytes, if there is one."""
    try:
        # A string as RADOS classes encode it: its length comes first.
        image_id = ioctx.read(f'rbd_id.{name}', _MAX_ID)[4:].decode()
        answer = ioctx.execute(
            f'rbd_header.{image_id}', 'rbd', 'get_size', _HEAD
        )[1]
    except rados.ObjectNotFound:
        return None
    _order, size_bytes = struct.unpack('<BQ', answer)
    return int(size_bytes)
