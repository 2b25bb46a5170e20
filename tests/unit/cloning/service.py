# SPDX-License-Identifier: Apache-2.0
"""The engine over the Ceph double and a real SQLite database, as a fixture.

Each call of :meth:`Service.process` is another process of the service: same
Ceph, same database, nothing else in common.
"""

import atexit
from collections.abc import Callable
from collections.abc import Iterator
import contextlib
import dataclasses
import datetime
import hashlib
import itertools
import pathlib
import shutil
import tempfile
from typing import Any
from typing import ClassVar
import uuid

import fixtures
from oslo_config import cfg
import sqlalchemy as sa
from sqlalchemy import event
import tenacity

from rbdcloner import conf as options
from rbdcloner import errors
from rbdcloner import states
from rbdcloner.cloning import permits
from rbdcloner.cloning.absent_images import AbsentImages
from rbdcloner.cloning.base_import import BaseImporter
from rbdcloner.cloning.base_upkeep import BaseUpkeep
from rbdcloner.cloning.engine import Engine
from rbdcloner.cloning.fencing import Fence
from rbdcloner.cloning.flattening import Flattener
from rbdcloner.cloning.generation import Generation
from rbdcloner.cloning.holding import Holder
from rbdcloner.cloning.importing import Imports
from rbdcloner.cloning.noted import Noted
from rbdcloner.cloning.reaper import Reaper
from rbdcloner.cloning.recovery import Recovery
from rbdcloner.cloning.snapshots import Snapshots
from rbdcloner.cloning.survey import Survey
from rbdcloner.cmd import compose
from rbdcloner.db import engine as db_engine
from rbdcloner.db import migration
from rbdcloner.db import tables
from rbdcloner.db.lineage import Lineage
from rbdcloner.model import Clone
from rbdcloner.model import CloneFormat
from rbdcloner.model import DiskRequest
from rbdcloner.model import Filters
from rbdcloner.model import GlanceImage
from rbdcloner.model import GlanceLocation
from rbdcloner.model import Image
from rbdcloner.model import Order
from rbdcloner.model import Snapshot
from rbdcloner.model import Warrant
from rbdcloner.states import State
from tests import ceph_double

MIB = 2**20
_PIECE_BYTES = MIB // 4
PROJECT = uuid.uuid4().hex
ASKED = Warrant(Order.CALLER, 'a test', 'a request')
LEASE_S = 5.0

_LEASES_END = (
    'UPDATE clones SET lease_expires_at = :then '
    'WHERE lease_expires_at IS NOT NULL',
    'UPDATE flattens SET lease_expires_at = :then '
    'WHERE lease_expires_at IS NOT NULL',
    'UPDATE bases SET lease_expires_at = :then '
    'WHERE lease_expires_at IS NOT NULL',
)
#: No process here has the thread that records that the database answers.
_ANSWERS_EVER = (
    'INSERT INTO duties (name, owner, due_at) VALUES '
    "('database answers', '', '2100-01-01 00:00:00.000000'), "
    "('takeover', '', '2000-01-01 00:00:00.000000')"
)
_SILENCE = "UPDATE duties SET due_at = :then WHERE name = 'database answers'"
_TIME_PASSES = (
    *_LEASES_END,
    'UPDATE clones SET retry_at = :then WHERE retry_at IS NOT NULL',
    'UPDATE flattens SET retry_at = :then WHERE retry_at IS NOT NULL',
    'UPDATE bases SET retry_at = :then WHERE retry_at IS NOT NULL',
    'UPDATE bases SET updated_at = :then',
    "UPDATE clones SET updated_at = :then WHERE state = 'deleted'",
    'UPDATE parents SET updated_at = :then',
    "UPDATE clones SET created_at = :then WHERE state = 'ready'",
    'UPDATE absences SET since = :then',
)


class KnownImages:
    """Glance's answers; the real one is in the functional tests.

    ``remembered`` are old ones, given until they are forgotten. ``on_look``
    is called when Glance is asked, ``on_download`` before a download and
    ``on_piece`` in the middle of it, ``on_copy`` when an image is to be
    copied.
    """

    def __init__(self) -> None:
        self.hides_images = False
        self.images: dict[str, GlanceImage] = {}
        self.data: dict[str, bytes] = {}
        self.forgotten: list[str] = []
        self.remembered: dict[str, GlanceImage] = {}
        self.on_look: Callable[[], object] = lambda: None
        self.on_download: Callable[[], object] = lambda: None
        self.on_piece: Callable[[], object] | None = None
        self.on_copy: Callable[[str], object] = lambda image_id: None

    def get(self, image_id: str, project_id: str = '') -> GlanceImage:
        return self.remembered.get(image_id) or self.look(image_id)

    def look(self, image_id: str) -> GlanceImage:
        self.on_look()
        try:
            return self.images[image_id]
        except KeyError:
            raise errors.ImageNotFound(image_id=image_id) from None

    def confirm_sight(self) -> None:
        if self.hides_images:
            raise errors.GlanceHidesImages()

    def forget(self, image_id: str) -> None:
        self.forgotten.append(image_id)
        self.remembered.pop(image_id, None)

    @contextlib.contextmanager
    def download(self, image_id: str) -> Iterator[Iterator[bytes]]:
        self.get(image_id)
        self.on_download()
        yield self._pieces(self.data[image_id])

    def copy_to(self, image_id: str, store: str) -> bool:
        self.on_copy(image_id)
        return True

    def _pieces(self, data: bytes) -> Iterator[bytes]:
        for begin in range(0, len(data), _PIECE_BYTES):
            yield data[begin : begin + _PIECE_BYTES]
            if self.on_piece is not None:
                self.on_piece()


@dataclasses.dataclass(frozen=True)
class Process:
    """One process of the service."""

    engine: Engine
    snapshots: Snapshots
    imports: Imports
    noted: Noted
    recovery: Recovery
    reaper: Reaper
    survey: Survey
    absent_images: AbsentImages
    flattener: Flattener
    importer: BaseImporter
    upkeep: BaseUpkeep
    generation: Generation
    lineage: Lineage

    def sweep_until_quiet(self, *but: State) -> None:
        """Recover and reap until nothing is left to do.

        That is, until every row is final, ready or in one of *but*.
        """
        ends = {State.READY, *but} | states.FINAL
        unfinished = Filters(states=tuple(set(State) - ends))
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_result(bool),
            wait=tenacity.wait_fixed(0.002),
            stop=tenacity.stop_after_delay(10),
        )

        def sweep() -> list[Clone]:
            self.recovery.sweep()
            self.reaper.sweep()
            return self.lineage.page(unfinished)

        retrying(sweep)


class Died(BaseException):
    """The process was killed here."""


class Service(fixtures.Fixture):
    """A cluster, a database, images, and processes that work on them."""

    _template: pathlib.Path | None = None
    _dialects: ClassVar[list[sa.Dialect]] = []
    _compiled: ClassVar[dict[Any, Any]] = {}

    def __init__(
        self,
        clone_format: CloneFormat = CloneFormat.V2,
        lease_s: float = LEASE_S,
        absence_delay: int = 0,
        brake_limit: int = 10,
        **flatten: int,
    ) -> None:
        self.clone_format = clone_format
        self._lease_s = lease_s
        self._conf = cfg.ConfigOpts()
        options.register(self._conf)
        self._conf([])
        self._conf.set_override('clone_format', int(clone_format), 'ceph')
        self._conf.set_override('absence_delay', absence_delay, 'safety')
        self._conf.set_override('brake_limit', brake_limit, 'safety')
        for option, value in flatten.items():
            self._conf.set_override(option, value, 'flatten')

    def _setUp(self) -> None:
        folder = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        shutil.copy(self._empty_database(), folder / 'lineage.sqlite')
        self._url = f'sqlite:///{folder}/lineage.sqlite'
        self.ceph = self.make_ceph()
        self.glance = KnownImages()
        self._owners = itertools.count(1)
        # Here Glance deletes in one step, or stops half-way.
        self.useFixture(
            fixtures.MonkeyPatch(
                'rbdcloner.cloning.survey._GLANCE_DELETES_WITHIN_S', 0
            )
        )
        # A double's watchers go at once, or stay for the test's length.
        self.useFixture(
            fixtures.MonkeyPatch(
                'rbdcloner.cloning.removing._CLOSES_WITHIN_S', 0
            )
        )

    def make_ceph(self) -> Any:
        """Return the cluster: a driver that a test can act upon."""
        ceph = ceph_double.CephDouble()
        ceph.permit = permits.permit
        return ceph

    @classmethod
    def _empty_database(cls) -> pathlib.Path:
        """Return a migrated database's file, made once a test run."""
        if cls._template is None:
            folder = pathlib.Path(tempfile.mkdtemp(prefix='rbdcloner-unit-'))
            atexit.register(shutil.rmtree, folder)
            engine = db_engine.connect(f'sqlite:///{folder}/empty.sqlite')
            migration.upgrade(engine)
            with engine.begin() as connection:
                connection.execute(sa.text(_ANSWERS_EVER))
            engine.dispose()
            cls._template = folder / 'empty.sqlite'
        return cls._template

    def process(
        self,
        on_commit: Callable[[], None] | None = None,
        fsid: str = '',
        **imports: object,
    ) -> Process:
        """Return a new process; *on_commit* runs before each COMMIT.

        It finds the work of cluster *fsid*, by default of all. *imports* are
        options of group [imports].
        """
        for option, value in imports.items():
            self._conf.set_override(option, value, 'imports')
        engine = self._connect()
        self.addCleanup(engine.dispose)
        lineage = Lineage(engine).of_cluster(fsid)
        owner = f'process-{next(self._owners)}'
        fence = Fence(lineage, owner, self._lease_s, self.ceph.shut_out)
        holder = Holder(lineage, owner, self._lease_s, fence)
        rooms = compose.rooms(self._conf, self.ceph, holder, self.glance)
        # As a worker does when it starts.
        rooms.generation.look()
        if on_commit:
            event.listen(engine, 'commit', lambda _: on_commit())
        return Process(
            engine=rooms.manager.engine,
            snapshots=rooms.manager.snapshots,
            imports=rooms.manager.imports,
            noted=rooms.noted,
            recovery=dataclasses.replace(
                rooms.recovery,
                idle_s=0,
                rollbacks=dataclasses.replace(
                    rooms.recovery.rollbacks, open_for_s=0
                ),
            ),
            reaper=rooms.reaper,
            survey=rooms.survey,
            absent_images=rooms.absent_images,
            flattener=rooms.flattener,
            importer=rooms.importer,
            upkeep=rooms.upkeep,
            generation=rooms.generation,
            lineage=lineage,
        )

    def _connect(self) -> sa.Engine:
        """Return an engine that knows what those before it compiled.

        A worker compiles a statement once in its life; these processes live
        for a call or two, and half of their time went into that.
        """
        engine = db_engine.connect(self._url, sqlite_synchronous=False)
        self._dialects.append(engine.dialect)
        engine.dialect = self._dialects[0]
        engine.update_execution_options(compiled_cache=self._compiled)
        return engine

    def add_image(
        self,
        size_bytes: int = MIB,
        protected: bool = True,
        data: bytes = b'golden',
        **facts: object,
    ) -> str:
        """Put a raw image into Glance and Ceph; its id."""
        image_id = str(uuid.uuid4())
        image = self.ceph.add_image('images', image_id, size_bytes)
        self.ceph.write(image, 0, data)
        self.ceph.add_snapshot(image, 'snap', protected)
        location = f'rbd://{self.ceph.fsid}/images/{image_id}/snap'
        self.register_image(image_id, location, size_bytes, **facts)
        return image_id

    def add_elsewhere(self, data: bytes) -> str:
        """Put a raw image into Glance that lies in no Ceph; its id."""
        image_id = str(uuid.uuid4())
        self.register_image(image_id, 'file:///elsewhere', 0)
        self.change_data(image_id, data)
        return image_id

    def change_data(self, image_id: str, data: bytes, **facts: object) -> None:
        """Let Glance have other data of an image, as it knows."""
        self.glance.data[image_id] = data
        digest = hashlib.sha512(data).hexdigest()
        known = {'size_bytes': len(data), 'checksum': f'sha512:{digest}'}
        self.change_image(image_id, **known | facts)

    def change_image(self, image_id: str, **facts: object) -> None:
        """Let Glance say something else of an image."""
        known = self.glance.images[image_id]
        self.glance.images[image_id] = dataclasses.replace(known, **facts)

    def register_image(
        self, image_id: str, location: str, size_bytes: int, **facts: object
    ) -> None:
        """Make what lies at *location* an active image of Glance's."""
        known = GlanceImage(
            id=image_id,
            status='active',
            disk_format='raw',
            size_bytes=size_bytes,
            hidden=False,
            visibility='public',
            owner=PROJECT,
            members=frozenset(),
            locations=(GlanceLocation(location),),
        )
        self.glance.images[image_id] = dataclasses.replace(known, **facts)

    def delete_image(self, image_id: str) -> None:
        """Delete an image as Glance does, which takes it for gone if it is.

        :raises RbdImageInUse: Glance answers 409, and has it still.
        """
        image = Image(self.ceph.fsid, 'images', '', image_id)
        with contextlib.suppress(errors.RbdImageNotFound):
            self.ceph.glance_delete(image)
        del self.glance.images[image_id]

    def parent_of(self, image_id: str) -> Snapshot:
        """Return the snapshot that the image's disks descend from."""
        return self.ceph.find_snapshot('images', '', image_id, 'snap').snapshot

    def rows(self) -> list[tuple[str, str]]:
        """Return (name, state) of all clones, oldest first."""
        engine = sa.create_engine(self._url)
        with engine.connect() as connection:
            found = connection.execute(
                sa.text('SELECT name, state FROM clones ORDER BY id')
            ).all()
        engine.dispose()
        return [tuple(row) for row in found]

    def pass_time(self) -> None:
        """Let every lease run out and every pause end, without a wait."""
        self._make_past(*_TIME_PASSES)

    def pass_time_without_callers(self) -> None:
        """Let time pass in which nobody asked for an import."""
        self._make_past(
            'UPDATE bases SET asked_at = :then WHERE asked_at IS NOT NULL'
        )

    def pass_created(self) -> None:
        """Let what is there have been made long ago."""
        self._make_past(
            "UPDATE clones SET created_at = :then WHERE state = 'ready'"
        )

    def execute(self, statement: str) -> None:
        """Change the database past the service."""
        engine = sa.create_engine(self._url)
        with engine.begin() as connection:
            connection.execute(sa.text(statement))
        engine.dispose()

    def back_up(self) -> None:
        """Dump every row of the database."""
        engine = sa.create_engine(self._url)
        with engine.connect() as connection:
            self._backup = {
                table: [
                    dict(row._mapping)
                    for row in connection.execute(sa.select(table))
                ]
                for table in tables.Base.metadata.sorted_tables
            }
        engine.dispose()

    def restore(self) -> None:
        """Let the database have the rows of the backup, and no others."""
        engine = sa.create_engine(self._url)
        with engine.begin() as connection:
            for table in reversed(tables.Base.metadata.sorted_tables):
                connection.execute(sa.delete(table))
            for table, rows in self._backup.items():
                for row in rows:
                    plain = {
                        name: value.replace(tzinfo=None)
                        if isinstance(value, datetime.datetime)
                        else value
                        for name, value in row.items()
                    }
                    connection.execute(sa.insert(table).values(plain))
        engine.dispose()

    def end_leases(self) -> None:
        """Let every lease run out: nobody has renewed it for long."""
        self._make_past(*_LEASES_END)

    def silence_database(self) -> None:
        """Let nobody have recorded for long that the database answers."""
        self._make_past(_SILENCE)

    def _make_past(self, *statements: str) -> None:
        long_ago = {'then': '2000-01-01 00:00:00.000000'}
        engine = sa.create_engine(self._url)
        with engine.begin() as connection:
            for statement in statements:
                connection.execute(sa.text(statement), long_ago)
        engine.dispose()

    def child(self, name: str, pool: str = 'vms') -> Image:
        """Return the noun of a child by its name."""
        return Image(self.ceph.fsid, pool, '', name)


def request(image_id: str, **changes: object) -> DiskRequest:
    """Return a request for a disk twice the image's size."""
    instance = str(uuid.uuid4())
    asked = DiskRequest(
        image_id=image_id,
        name=f'{instance}_disk',
        pool='vms',
        size_bytes=2 * MIB,
        instance_uuid=instance,
        project_id=PROJECT,
        host='compute-1',
    )
    return dataclasses.replace(asked, **changes)
