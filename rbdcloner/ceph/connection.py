# SPDX-License-Identifier: Apache-2.0
"""Connections to one Ceph cluster, kept, and its errors made ours.

A process keeps one RADOS handle, opened after it was forked. Pacific's
``RBD.clone()`` takes no format, a handle does: a caller that clones in the
other format opens a second handle. A handle that Ceph has shut out (it was
blocklisted), or does not answer in time, is dropped when the last call on it
ends, and the next call connects again. So is one whose key was replaced, once
another is connected with the new key. Rejected: one connection per call, as
it costs a third of a clone.
"""

from collections.abc import Collection
from collections.abc import Iterator
from collections.abc import Mapping
from concurrent import futures
import contextlib
import errno
import threading
from typing import Any

import rados
import rbd

from rbdcloner import errors
from rbdcloner.ceph import key_diagnosis
from rbdcloner.ceph import keyring
from rbdcloner.ceph.handle import Handle
from rbdcloner.ceph.handle import Recorder
from rbdcloner.model import CloneFormat

_UNAVAILABLE = frozenset(
    {
        errno.ECONNREFUSED,
        errno.ECONNRESET,
        errno.EHOSTUNREACH,
        errno.EINTR,
        errno.ENETUNREACH,
        errno.ENOTCONN,
        # librbd's word for an exclusive lock that it did not get in time.
        errno.EROFS,
        errno.ETIMEDOUT,
    }
)
_FORBIDDEN = frozenset({errno.EACCES, errno.EPERM})
_FULL = frozenset({errno.EDQUOT, errno.ENOSPC})

#: This client moves no data: without a cache librbd starts fewer threads.
#: Pools are probed when the service starts, not at every clone. Fewer threads
#: of librados' own (librados_thread_count = 1) were seen to wait for each
#: other for ever. What librados writes of a key that it cannot read has the
#: key in it.
_SETTINGS = {
    'err_to_stderr': 'false',
    'log_to_stderr': 'false',
    'rbd_cache': 'false',
    'rbd_validate_pool': 'false',
}


def _ours(
    exc: Exception, act: str, pool: str, answers: Mapping[int, errors.Error]
) -> errors.Error:
    number: int = getattr(exc, 'errno', 0)
    if number in answers:
        return answers[number]
    if number == errno.ESHUTDOWN:
        return errors.ShutOut(act=act)
    if number in _UNAVAILABLE:
        return errors.CephUnavailable(act=act)
    if number in _FORBIDDEN:
        return errors.CephForbidden(act=act, pool=pool)
    if number in _FULL:
        return errors.OutOfSpace(pool=pool)
    return errors.CephRefused(act=act, reason=str(exc))


def _is_of_no_use(exc: BaseException | None) -> bool:
    """Tell whether *exc* says that its handle may never work again.

    A client that is shut out is told so by the OSDs that it knows; of those
    that start afterwards it never learns, and whatever it asks times out.
    """
    return isinstance(exc, rados.Error | rbd.Error) and exc.errno in (
        errno.ESHUTDOWN,
        errno.ETIMEDOUT,
    )


@contextlib.contextmanager
def translated(
    act: str, pool: str, answers: Mapping[int, errors.Error] | None = None
) -> Iterator[None]:
    """Let no error of rados or rbd out, but ours.

    *answers* says what an error number means in this act.
    """
    try:
        yield
    except (rados.Error, rbd.Error) as exc:
        raise _ours(exc, act, pool, answers or {}) from exc


class Connections:
    """The handles of one process, one for each clone format in use."""

    def __init__(
        self,
        conffile: str,
        user: str,
        timeout_s: float,
        clone_format: CloneFormat,
        keyring: str = '',
        recorder: Recorder | None = None,
    ) -> None:
        self.conffile = conffile
        self.client = 'client.' + user.removeprefix('client.')
        self._clone_format = clone_format
        # Whole seconds: client_mount_timeout takes no others.
        timeout = str(max(1, round(timeout_s)))
        self.settings = _SETTINGS | {
            'client_mount_timeout': timeout,
            'rados_mon_op_timeout': timeout,
            'rados_osd_op_timeout': timeout,
        }
        if keyring:
            self.settings['keyring'] = keyring
        self._recorder = recorder
        #: Of the cluster that is to be reached; empty until it is known.
        self.fsid = ''
        self._handles: dict[CloneFormat, futures.Future[Handle]] = {}
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def use(self, clone_format: CloneFormat | None = None) -> Iterator[Handle]:
        """Keep a connected handle for one act; connect if there is none."""
        wanted = clone_format or self._clone_format
        handle = self._take(wanted)
        try:
            yield handle
        except Exception as exc:
            if _is_of_no_use(exc) or _is_of_no_use(exc.__cause__):
                self._drop(wanted, handle)
            raise
        finally:
            handle.give_back()

    @contextlib.contextmanager
    def own(self) -> Iterator[Handle]:
        """Connect a handle for one act alone, and close it after."""
        handle = self._connect(self._clone_format)
        try:
            yield handle
        finally:
            handle.give_back()

    def shut_out(self, addresses: Collection[str], duration_s: int) -> None:
        """Have the cluster refuse what comes from *addresses*; our own too.

        No call that begins after that finds anything that they did later.
        """
        with self.use() as handle:
            for address in addresses:
                handle.shut_out(address, duration_s)
        for wanted in self._connected():
            with self.use(wanted) as handle:
                if handle.address in addresses:
                    self._drop(wanted, handle)
                else:
                    handle.follow()

    def follow_key(self) -> bool:
        """Connect anew where the key has been replaced; tell whether it was.

        A handle keeps the key that it was opened with in memory, and is used
        until another is connected with the new one.

        :raises CephError: that could not be connected.
        """
        followed = False
        for wanted in self._connected():
            with self.use(wanted) as handle:
                if handle.has_key_of(self.client):
                    continue
            self._replace(wanted, handle, self._connect(wanted))
            followed = True
        return followed

    def close(self) -> None:
        """Close every handle as soon as its last user is done with it."""
        with self._lock:
            opened = list(self._handles.values())
            self._handles.clear()
        for future in opened:
            future.result().give_back()

    def _connected(self) -> list[CloneFormat]:
        with self._lock:
            return [
                wanted
                for wanted, future in self._handles.items()
                if future.done()
            ]

    def _take(self, wanted: CloneFormat) -> Handle:
        with self._lock:
            future = self._handles.get(wanted)
            if future is not None and future.done():
                handle = future.result()
                handle.take()
                return handle
            # Callers that come while one connects share what comes of it.
            connects = future is None
            if future is None:
                future = self._handles[wanted] = futures.Future()
        if connects:
            self._fulfil(wanted, future)
        future.result()
        return self._take(wanted)

    def _fulfil(
        self, wanted: CloneFormat, future: 'futures.Future[Handle]'
    ) -> None:
        try:
            handle = self._connect(wanted)
        except BaseException as exc:
            with self._lock:
                del self._handles[wanted]
            future.set_exception(exc)
        else:
            future.set_result(handle)

    def _drop(self, wanted: CloneFormat, handle: Handle) -> None:
        with self._lock:
            future = self._handles.get(wanted)
            if future is None or not future.done():
                return
            if future.result() is not handle:
                return
            del self._handles[wanted]
        handle.give_back()

    def _replace(
        self, wanted: CloneFormat, handle: Handle, successor: Handle
    ) -> None:
        replaced = successor
        with self._lock:
            future = self._handles.get(wanted)
            if future and future.done() and future.result() is handle:
                self._handles[wanted] = futures.Future()
                self._handles[wanted].set_result(successor)
                replaced = handle
        replaced.give_back()

    def _connect(self, clone_format: CloneFormat) -> Handle:
        settings = self.settings | {
            'rbd_default_clone_format': str(int(clone_format))
        }
        with translated('connect', ''):
            cluster = self._read_configuration(settings)
            try:
                # Before it is used: what comes later is found to differ.
                key = keyring.digest(cluster.conf_get, self.client)
                self._authenticate(cluster)
                self._refuse_other_cluster(cluster.get_fsid())
                return Handle(cluster, key, self._recorder)
            except BaseException:
                cluster.shutdown()
                raise

    def _refuse_other_cluster(self, found: str) -> None:
        """Raise if the configuration file leads to another cluster by now."""
        if self.fsid not in ('', found):
            raise errors.ClusterDiffers(
                conffile=self.conffile, found=found, fsid=self.fsid
            )

    def _authenticate(self, cluster: Any) -> None:
        try:
            cluster.connect()
        except rados.Error as exc:
            if exc.errno in key_diagnosis.UNREAD | key_diagnosis.REFUSED:
                why = key_diagnosis.explain(
                    cluster.conf_get, self.client, exc.errno
                )
                if why:
                    raise why from exc
            raise

    def _read_configuration(self, settings: Mapping[str, str]) -> Any:
        try:
            return rados.Rados(
                name=self.client, conffile=self.conffile, conf=settings
            )
        except rados.ObjectNotFound as exc:
            raise errors.ConfigurationError(
                problem=f'There is no {self.conffile}',
                remedy="Name the cluster's configuration file",
            ) from exc
