# SPDX-License-Identifier: Apache-2.0
"""How a verb reaches Ceph: connected, and with Ceph's errors made ours.

Each verb opens what it needs and closes it: no two calls share an open image.
"""

from collections.abc import Collection
from collections.abc import Iterator
from collections.abc import Mapping
import contextlib
import contextvars
import time
from typing import Any

from rbdcloner import errors
from rbdcloner.ceph import looking
from rbdcloner.ceph import probing
from rbdcloner.ceph.connection import Connections
from rbdcloner.ceph.connection import translated
from rbdcloner.ceph.driver import PermitThrough
from rbdcloner.ceph.handle import Handle
from rbdcloner.ceph.handle import Recorder
from rbdcloner.model import CloneFormat
from rbdcloner.model import Image

#: Longer than anybody is stopped and wakes again: a day.
_SHUT_OUT_S = 86400
#: Nobody's, by RFC 5737.
_NOBODYS_ADDRESS = '192.0.2.1:0/1'

#: So long after a clone, its pool is taken to have space.
_SPACE_PROVED_S = 1.0


#: When the connection was made that this thread's act goes through.
_connected_at: contextvars.ContextVar[float] = contextvars.ContextVar(
    'connected_at'
)


@contextlib.contextmanager
def _through(handle: Handle) -> Iterator[None]:
    before = _connected_at.set(handle.connected_at)
    try:
        yield
    finally:
        _connected_at.reset(before)


class Reaching:
    """One cluster, reached with one key; safe to use from many threads."""

    def __init__(
        self,
        conffile: str,
        user: str,
        timeout_s: float,
        clone_format: CloneFormat = CloneFormat.V2,
        keyring: str = '',
        permit: PermitThrough = lambda connected_at: None,
        recorder: Recorder | None = None,
    ) -> None:
        self._connections = Connections(
            conffile,
            user,
            timeout_s,
            clone_format,
            keyring,
            recorder,
        )
        self._permit_through = permit
        self._cloned_at: dict[str, float] = {}
        self._fsid = ''

    def connect(self) -> None:
        """Connect to the cluster; nothing if that is done.

        To be called after the process was forked.

        :raises CephAuthentication: the key is wrong, or there is none.
        :raises ConfigurationError: there is no configuration file.
        """
        with self._connections.use() as handle:
            self._fsid = self._connections.fsid = handle.fsid

    def follow_key(self) -> bool:
        """Connect anew where the key has been replaced; tell whether it was.

        :raises CephError: the new one is of no use; the old goes on.
        """
        with translated('connect', ''):
            return self._connections.follow_key()

    def close(self) -> None:
        """Disconnect, once the calls in progress have ended."""
        self._connections.close()

    @property
    def fsid(self) -> str:
        return self._fsid

    def shut_out(self, addresses: Collection[str]) -> None:
        with translated('shut a client out', ''):
            self._connections.shut_out(addresses, _SHUT_OUT_S)

    def may_shut_out(self) -> bool:
        """Tell whether the key may do that, by doing it for a second.

        It is done to an address that nobody has.
        """
        try:
            with translated('shut a client out', ''):
                self._connections.shut_out([_NOBODYS_ADDRESS], 1)
        except errors.CephForbidden:
            return False
        return True

    def _permit(self) -> None:
        """Return if the act that is next in this thread may be done."""
        self._permit_through(_connected_at.get())

    def _has_space(self, image: Image) -> bool:
        cloned_at = self._cloned_at.get(image.pool)
        if cloned_at and time.monotonic() - cloned_at < _SPACE_PROVED_S:
            return True
        with self._handle(f'write beside {image}', image.pool) as handle:
            return probing.has_space(handle.ioctx(image.pool, image.namespace))

    @contextlib.contextmanager
    def _handle(
        self,
        act: str,
        pool: str,
        answers: Mapping[int, errors.Error] | None = None,
        clone_format: CloneFormat | None = None,
    ) -> Iterator[Handle]:
        with (
            translated(act, pool, answers),
            self._connections.use(clone_format) as handle,
            _through(handle),
        ):
            yield handle

    @contextlib.contextmanager
    def _own_handle(self, act: str, pool: str) -> Iterator[Handle]:
        with (
            translated(act, pool),
            self._connections.own() as handle,
            _through(handle),
        ):
            yield handle

    @contextlib.contextmanager
    def _ioctx(
        self,
        verb: str,
        image: Image,
        answers: Mapping[int, errors.Error] | None = None,
    ) -> Iterator[Any]:
        act = f'{verb} {image}'
        with self._handle(act, image.pool, answers) as handle:
            yield handle.ioctx(image.pool, image.namespace)

    @contextlib.contextmanager
    def _opened(
        self,
        image: Image,
        verb: str,
        writable: bool = False,
        answers: Mapping[int, errors.Error] | None = None,
    ) -> Iterator[Any]:
        with (
            self._ioctx(verb, image, answers) as ioctx,
            looking.opened(ioctx, image, writable) as opened,
        ):
            yield opened
