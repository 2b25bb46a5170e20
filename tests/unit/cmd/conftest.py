# SPDX-License-Identifier: Apache-2.0
"""A database of real rows, and the program over it."""

import dataclasses
import datetime
import logging

import pytest

from rbdcloner.cmd import manage
from rbdcloner.cmd.manage import watching
from rbdcloner.db import engine
from rbdcloner.db import migration
from rbdcloner.db.lineage import Lineage
from rbdcloner.model import CloneFormat
from rbdcloner.model import DiskRequest
from rbdcloner.model import Filters
from rbdcloner.model import FlattenReason
from rbdcloner.model import Image
from rbdcloner.model import Protector
from rbdcloner.model import Snapshot
from rbdcloner.model import SnapshotFacts
from rbdcloner.states import State

FSID = '6f9f2d9e-2f0a-4a1c-9a54-3f1f4f1b9b6a'
GLANCE_IMAGE = '250ccb46-7d46-47f7-a2d9-9130db92e2c0'
INSTANCE = 'f7c5b3d8-0b53-4a3c-8e45-0e3ad21e1001'
GIB = 1 << 30
CREATED_AT = datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC)


@dataclasses.dataclass
class Ran:
    """What one run of the program came to."""

    code: int
    out: str
    err: str


class Database:
    """A SQLite file, what fills it, and the program."""

    def __init__(self, folder, capsys):
        self.url = f'sqlite:///{folder}/lineage.sqlite'
        self.conf = folder / 'rbdcloner.conf'
        self.configure(f'[database]\nconnection = {self.url}\n')
        self._capsys = capsys

    def configure(self, text):
        self.conf.write_text(text)

    def sync(self):
        """Make the schema; the lineage in it."""
        connected = engine.connect(self.url)
        migration.upgrade(connected)
        return Lineage(connected)

    def run(self, *arguments):
        root = logging.getLogger()
        level, handlers = root.level, list(root.handlers)
        try:
            code = manage.main(['--config-file', str(self.conf), *arguments])
        except SystemExit as exc:
            code = exc.code or 0
        finally:
            root.handlers[:], root.level = handlers, level
        captured = self._capsys.readouterr()
        return Ran(code, captured.out, captured.err)


@pytest.fixture
def database(tmp_path, capsys):
    return Database(tmp_path, capsys)


@pytest.fixture
def lineage(database):
    return database.sync()


@pytest.fixture
def meanwhile(monkeypatch):
    """Acts of the managers, one in each pause of a command that waits.

    Nothing else works on the database here, and no test may sleep.
    """
    acts = []
    monkeypatch.setattr(watching, '_pause', lambda: acts.pop(0)())
    monkeypatch.setattr(watching, '_CHANGED_AFTER_S', 0)
    return acts


def adopt(lineage, name='an-image', image_id='1234', pool='images', **changes):
    """Record a parent: snapshot 7 of an image."""
    image = Image(FSID, pool, '', name, image_id)
    number = changes.get('number', 7)
    facts = SnapshotFacts(
        Snapshot(image, 'snap', number), GIB, 22, False, False, CREATED_AT
    )
    glance_image_id = changes.get('glance_image_id', GLANCE_IMAGE)
    return lineage.adopt(facts, glance_image_id, Protector.NOBODY)


def make(lineage, parent, name, *states, image_id='', **changes):
    """Record a disk, READY unless *states* say how it went on."""
    request = DiskRequest(
        image_id=parent.glance_image_id,
        name=name,
        pool=changes.get('pool', 'vms'),
        size_bytes=changes.get('size_bytes', 5 * GIB),
        instance_uuid=changes.get('instance_uuid', INSTANCE),
        project_id=changes.get('project_id', 'a-project'),
        host=changes.get('host', 'node1'),
    )
    clone_format = changes.get('clone_format', CloneFormat.V2)
    clone = lineage.reserve(request, parent, clone_format, 'me', 60)
    for state in states or (State.READY,):
        if state == State.DELETED:
            clone = lineage.move(clone, State.RETIRED)
        clone = lineage.move(clone, state, image_id=image_id or f'id-{name}')
    return clone


def make_image(lineage, disk, image_id, snapshot_id=3):
    """Record a Glance image, READY, made from a snapshot of *disk*."""
    clone = lineage.reserve_image(
        disk, image_id, 'images', CloneFormat.V2, 'me', 60
    )
    snapshot = clone.parent.snapshot
    facts = SnapshotFacts(
        Snapshot(snapshot.image, snapshot.name, snapshot_id),
        disk.size_bytes, 22, False, False, CREATED_AT,
    )  # fmt: skip
    lineage.made_snapshot(clone.parent, facts)
    lineage.move(clone, State.READY, image_id=f'id-{image_id}')
    return now(lineage, clone)


def flatten(lineage, clone):
    """Let *clone* be flattened, as it waits in the queue or not."""
    lineage.want_flatten(clone, FlattenReason.RELEASE)
    running = lineage.next_flatten('a-manager', 60, 9)
    return lineage.flattened(running)


def now(lineage, clone):
    """Return what the row of *clone* says now."""
    (found,) = lineage.page(Filters(uuid=clone.uuid))
    return found
