# SPDX-License-Identifier: Apache-2.0
"""The managers, as one process of Nova's asks them.

In mode *prefer* what no manager answers is left to Nova's own code, as soon
as nothing is heard of any. Whether one is there is found out by a short call,
and known for a while: a server has several disks, and each would wait.
"""

from collections.abc import Callable
import dataclasses
import functools
import logging
import math
import os
import time
from typing import Any

from nova import context as nova_context
import nova.conf
from oslo_context import context as oslo_context
import tenacity

from rbdcloner import errors
from rbdcloner import rpcapi
from rbdcloner.nova import conf
from rbdcloner.nova.answers import as_novas

LOG = logging.getLogger(__name__)

CONF = nova.conf.CONF
conf.register(CONF)

#: No manager that is there takes longer to say so.
_GREETING_S = 10
_KNOWN_FOR_S = 30

#: A client that was killed has its images open for so long.
_OPEN_FOR_S = 60
_LONGEST_PAUSE_S = 4

_ROLLING_BACK = 'rolling-back'

#: Of a disk's states, those with data that is the instance's: it is not to be
#: made anew. Nova repeats a revert of a disk that is rolling back.
_WHOLE = frozenset({'ready', 'resizing', _ROLLING_BACK, 'restoring'})


class Service:
    """Any of the managers, for all threads of a process."""

    def __init__(self, api: rpcapi.API) -> None:
        self._api = api
        self._greeter = api.within(_GREETING_S)
        self._is_there = False
        self._known_until = 0.0

    def is_there(self) -> bool:
        """Tell whether a manager answers.

        :raises ConfigurationError: none can be asked, ever: that is nothing
            to go on without.
        """
        if time.monotonic() > self._known_until:
            try:
                self._greeter.ping(_context())
            except errors.ServiceUnavailable as exc:
                LOG.warning('%s', exc)
                self.know(False)
            except errors.ConfigurationError:
                raise
            except errors.Error:
                # It said so.
                self.know(True)
            else:
                self.know(True)
        return self._is_there

    def know(self, is_there: bool) -> None:
        """Take that for known, for a while."""
        self._is_there = is_there
        self._known_until = time.monotonic() + _KNOWN_FOR_S

    def ask(self, method: str, **given: Any) -> Any:
        """Return the answer; that a disk is open is waited out.

        :raises Error: it is one of ours.
        """
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(errors.DiskInUse),
            wait=tenacity.wait_random_exponential(0.1, _LONGEST_PAUSE_S),
            stop=tenacity.stop_after_delay(_OPEN_FOR_S),
            reraise=True,
        )
        return retrying(self.ask_once, method, **given)

    def ask_once(self, method: str, **given: Any) -> Any:
        """Return the answer.

        :raises Error: it is one of ours.
        """
        try:
            answer = getattr(self._api, method)(_context(), **given)
        except errors.ServiceUnavailable:
            self.know(False)
            raise
        self.know(True)
        return answer


@functools.cache
def _service_of(process: int) -> Service:
    known = CONF.rbdcloner
    prefers = known.mode == conf.PREFER
    return Service(
        rpcapi.API.from_conf(
            CONF,
            url=known.transport_url or '',
            timeout_s=known.timeout,
            silence_s=_GREETING_S if prefers else math.inf,
        )
    )


def service() -> Service:
    """Return the managers, as this process asks them."""
    return _service_of(os.getpid())


def either(asking: Callable[[], Any], alone: Callable[[], Any]) -> Any:
    """Return what *asking* the managers gives, or what Nova's own code does.

    :raises NovaException: a manager refused, or none answered in mode
        *require*.
    """
    prefers = CONF.rbdcloner.mode == conf.PREFER
    with as_novas():
        try:
            if not prefers or service().is_there():
                return asking()
        except errors.ServiceUnavailable as exc:
            if not prefers:
                raise
            LOG.warning("Nova's own code goes on: %s", exc)
    return alone()


@dataclasses.dataclass(frozen=True, slots=True)
class Disk:
    """An instance's disk, as the managers are asked about it."""

    name: str
    pool: str
    instance: Any
    """Nova's object."""

    @property
    def owner(self) -> dict[str, str]:
        """Whose it is."""
        return {
            'instance_uuid': self.instance.uuid,
            'project_id': self.instance.project_id or '',
            'host': CONF.host,
        }

    def ask(self, method: str, **given: Any) -> Any:
        """Return the answer; a disk that others made is adopted for it.

        :raises Error: it is one of ours.
        """
        given = {'name': self.name, 'pool': self.pool, **given}
        try:
            return service().ask(method, **given)
        except errors.DiskNotFound:
            self.adopt()
        return service().ask(method, **given)

    def adopt(self) -> None:
        """Have a manager record the disk, that others made.

        :raises DiskNotFound: there is no such image, either.
        """
        LOG.info('%s/%s is to be adopted', self.pool, self.name)
        service().ask(
            'adopt_disk', name=self.name, pool=self.pool, **self.owner
        )

    def is_whole(self) -> bool:
        """Tell whether the image that has the name is not in the making.

        What others made is taken for whole, and so is what no manager says
        anything of.
        """
        state = self._state()
        return not state or state in _WHOLE

    def check_rolled_back(self) -> None:
        """Raise if the disk may have some data of now and some of a snapshot.

        Its instance is not to start from that. Nothing where no manager says
        anything of the disk.

        :raises DiskBusy: its rollback was interrupted, or is at work.
        """
        state = self._state()
        if state == _ROLLING_BACK:
            raise errors.DiskBusy(name=self.name, pool=self.pool, state=state)

    def _state(self) -> str:
        """Return the state of the disk's row; empty if none is known."""
        if not service().is_there():
            return ''
        try:
            found = service().ask_once(
                'get_disk', name=self.name, pool=self.pool
            )
        except (errors.DiskNotFound, errors.ServiceUnavailable):
            return ''
        return str(found['state'])


def _context() -> Any:
    return oslo_context.get_current() or nova_context.get_admin_context()
