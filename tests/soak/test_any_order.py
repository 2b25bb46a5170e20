# SPDX-License-Identifier: Apache-2.0
"""Whatever is done in whatever order, on a real cluster, through librbd.

Not one of the suites: some runs ended inside librbd 16.2, in the test's own
opening of an image, and what a suite does must not depend on luck. Run it by
hand, with ``python -m pytest tests/soak``; ``--hypothesis-seed`` makes other
steps than the usual ones.
"""

from collections.abc import Iterator
import contextlib
from typing import Any

import pytest
import rbd

from rbdcloner import errors
from rbdcloner.ceph.librbd import LibrbdDriver
from rbdcloner.model import CloneFormat
from rbdcloner.model import Image
from tests import ceph_double
from tests import stack
from tests.functional import test_crashes
from tests.functional.service import MIB
from tests.unit.cloning import any_order
from tests.unit.cloning import service


class Cluster(test_crashes.WatchedDriver):
    """A real cluster: a driver, and what others do there."""

    def __init__(self, driver: Any, admin: Any, guest: Any) -> None:
        super().__init__(driver, admin)
        self._guest = guest
        self._guests: dict[str, Any] = {}

    def __getattr__(self, name: str) -> Any:
        verb = getattr(self._driver, name)
        if name not in ceph_double.ACTS:
            return verb

        def act(*given: Any) -> Any:
            self.on_act(name, 'before')
            answer = verb(*given)
            self.on_act(name, 'after')
            return answer

        return act

    def read(
        self, image: Image, offset: int, length: int, snapshot: str = ''
    ) -> bytes:
        with self._opened(image, snapshot, read_only=True) as held:
            return bytes(held.read(offset, length))

    @contextlib.contextmanager
    def watch(self, image: Image) -> Iterator[None]:
        """Hold *image* open to write, as another client."""
        if image.pool not in self._guests:
            self._guests[image.pool] = self._guest.open_ioctx(image.pool)
        with rbd.Image(self._guests[image.pool], image.name):
            yield

    def close(self) -> None:
        super().close()
        for ioctx in self._guests.values():
            ioctx.close()

    def flatten_image(self, image: Image) -> None:
        # Without a parent it is an invalid argument.
        with (
            self._opened(image) as held,
            contextlib.suppress(rbd.InvalidArgument),
        ):
            held.flatten()

    def remove_image(self, image: Image) -> None:
        with self._ioctx(image.pool) as ioctx:
            rbd.RBD().remove(ioctx, image.name)

    def glance_delete(self, image: Image) -> None:
        """Delete *image* as ``_delete_image`` of glance_store 5.7 does."""
        with self._ioctx(image.pool) as ioctx:
            try:
                self._drop_snapshot(ioctx, image.name)
                rbd.RBD().remove(ioctx, image.name)
            except rbd.ImageHasSnapshots:
                rbd.RBD().trash_move(ioctx, image.name)
            except rbd.ImageBusy as exc:
                raise errors.RbdImageInUse(
                    pool=image.pool, image=image.name, watchers=[]
                ) from exc
            except rbd.ImageNotFound as exc:
                raise errors.RbdImageNotFound(
                    pool=image.pool, image=image.name
                ) from exc

    def _drop_snapshot(self, ioctx: Any, name: str) -> None:
        with (
            rbd.Image(ioctx, name) as held,
            contextlib.suppress(rbd.ImageNotFound),
        ):
            with contextlib.suppress(rbd.InvalidArgument):
                held.unprotect_snap('snap')
            held.remove_snap('snap')

    @contextlib.contextmanager
    def _opened(
        self, image: Image, snapshot: str = '', read_only: bool = False
    ) -> Iterator[Any]:
        which = {'image_id': image.id} if image.id else {'name': image.name}
        with (
            self._ioctx(image.pool) as ioctx,
            rbd.Image(
                ioctx,
                snapshot=snapshot or None,
                read_only=read_only,
                **which,
            ) as held,
        ):
            yield held


class RealWorld(service.Service):
    """The engine over librbd, instead of the double."""

    cluster: Cluster

    def make_ceph(self) -> Cluster:
        return self.cluster


class RealMachine(any_order.AnyOrder):
    world_class = RealWorld
    unit = 4 * MIB


@pytest.fixture
def cluster(
    clone_format: CloneFormat, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """A cluster of this test's own: its pools must be empty."""
    with (
        stack.Stack(rabbitmq=False, glance=False, databases=()) as servers,
        servers.ceph.connection() as admin,
        servers.ceph.connection() as guest,
    ):
        for client in (admin, guest):
            # As the driver's own connections.
            client.conf_set('rbd_cache', 'false')
        conf = str(servers.ceph.conf)
        driver = LibrbdDriver(conf, 'rbdcloner', 30, clone_format)
        driver.connect()
        cluster = Cluster(driver, admin, guest)
        monkeypatch.setattr(RealWorld, 'cluster', cluster, raising=False)
        yield
        cluster.close()
        driver.close()


@pytest.mark.usefixtures('cluster')
@pytest.mark.parametrize('clone_format', list(CloneFormat))
def test_hundreds_of_steps_on_a_cluster(
    clone_format: CloneFormat, pytestconfig: pytest.Config
) -> None:
    counts = any_order.explore(
        RealMachine,
        clone_format,
        pytestconfig,
        max_examples=5,
        stateful_step_count=40,
        phases=any_order.WITHOUT_SHRINKING,
    )
    assert counts['steps'] > 150
