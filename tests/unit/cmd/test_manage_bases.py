# SPDX-License-Identifier: Apache-2.0
"""base list, show, import and drop look after images imported once."""

import itertools
import json
import sys
import uuid

import pytest

from rbdcloner.cmd import compose
from rbdcloner.cmd.manage import watching
from rbdcloner.model import Filters
from rbdcloner.model import Way
from rbdcloner.states import BaseState
from rbdcloner.states import State
from tests.unit.cloning import service

MIB = service.MIB
DATA = b'elsewhere' + bytes(4 * MIB - 9)
BROKEN = 'GlanceUnavailable: it is down'


class World(service.Service):
    """A cluster, Glance, and a manager that works when it is told to."""

    def __init__(self, database):
        super().__init__()
        self._database = database

    def _setUp(self):
        super()._setUp()
        # A command that ends disconnects; the double is never connected.
        self.ceph.connect = self.ceph.close = lambda: None
        self.configure('')
        self.manager = self.process()
        self.lineage = self.manager.lineage
        self.image_id = self.add_elsewhere(DATA)

    def configure(self, imports):
        self._database.configure(
            f'[database]\nconnection = {self._url}\n[imports]\n{imports}'
        )

    def run(self, *arguments):
        return self._database.run('base', *arguments)

    def listed(self, *arguments):
        ran = self.run('list', '-f', 'json', *arguments)
        assert (ran.code, ran.err) == (0, '')
        return json.loads(ran.out)

    def base(self, image_id=''):
        """Return the newest row of an image."""
        return self.lineage.bases(glance_image_id=image_id or self.image_id)[
            -1
        ]

    def ask(self, image_id=''):
        """Ask for a disk, as a caller does: its image is wanted."""
        image = self.glance.get(image_id or self.image_id)
        return self.lineage.want_base(
            self.ceph.fsid, image.id, image.checksum, image.size_bytes
        )

    def import_now(self):
        assert self.manager.importer.run_next()

    def begin(self, done_bytes=MIB, way=Way.STREAM):
        """Let another manager be at work."""
        base = self.lineage.next_base('a-manager', 60, 9, ())
        return self.lineage.base_progress(base, done_bytes, len(DATA), 60, way)

    def ready(self):
        self.ask()
        self.import_now()
        return self.base()

    def disk(self, **changes):
        asked = service.request(
            self.image_id, imports=True, size_bytes=len(DATA), **changes
        )
        return self.manager.engine.create_disk(asked)

    def refused(self):
        self.change_image(self.image_id, checksum='sha512:0')
        self.ask()
        self.import_now()
        assert self.base().state is BaseState.REFUSED


@pytest.fixture
def world(database, monkeypatch):
    with World(database) as made:
        # In place of librados and of a Glance that answers by HTTP; both are
        # in the functional tests.
        monkeypatch.setattr(compose, 'ceph', lambda conf: made.ceph)
        monkeypatch.setattr(compose, 'glance', lambda conf: made.glance)
        yield made


@pytest.fixture
def three(world):
    """One base that is ready, one that runs, one that waits again."""
    world.ready()
    for _ in range(2):
        world.ask(world.add_elsewhere(DATA[::-1]))
    world.begin()
    waiting = world.lineage.next_base('b-manager', 60, 9, ())
    world.lineage.put_back_base(waiting, BROKEN)
    return world


def test_programs_get_what_is_recorded(three):
    ready, running, waiting = three.listed()
    assert (ready['state'], ready['way']) == ('ready', 'stream')
    assert ready['glance_image_id'] == three.image_id
    assert ready['checksum'].startswith('sha512:')
    assert ready['base'].startswith(f'vms/{three.image_id}.')
    assert (ready['percent'], ready['done_bytes']) == (100, len(DATA))
    assert (running['state'], running['run_by']) == ('running', 'a-manager')
    assert (running['done_bytes'], running['total_bytes']) == (MIB, len(DATA))
    assert (running['percent'], running['slot']) == (25, 1)
    assert (waiting['state'], waiting['run_by']) == ('wanted', '')
    assert (waiting['reason'], waiting['attempts']) == (BROKEN, 1)
    assert waiting['retry_at'].endswith('Z')


def test_persons_get_a_table(three):
    out = three.run('list').out
    assert f'| {three.image_id} | ready   | stream | 100 %' in out
    assert '| 25 %     | 1 MiB | 4 MiB | a-manager ' in out
    assert BROKEN in out


def test_an_empty_list_is_said_to_be_empty(world):
    ran = world.run('list')
    assert (ran.code, ran.err) == (
        0, 'No image has been imported, nor waits for it.\n',
    )  # fmt: skip
    assert world.listed() == []


def test_what_is_over_is_listed_with_all(world):
    world.refused()
    assert world.listed() == []
    (refused,) = world.listed('--all')
    assert refused['state'] == 'refused'
    assert 'has another sha512 than Glance says' in refused['reason']


def test_a_list_has_pages(three):
    ran = three.run('list', '--limit', '2')
    assert 'a-manager' in ran.out
    assert BROKEN not in ran.out
    marker = ran.err.removeprefix('There are more: ').split()
    assert [base['state'] for base in three.listed(*marker)] == ['wanted']


def test_a_base_is_shown_with_who_needs_it(world):
    world.ready()
    disks = [world.disk(), world.disk()]
    ran = world.run('show', world.image_id, '-f', 'json')
    shown = json.loads(ran.out)
    assert (ran.code, shown['state']) == (0, 'ready')
    assert shown['base'] == str(world.base().clone.image)
    assert shown['base_uuid'] == world.base().clone.uuid
    assert shown['needed_by'] == [str(disk.image) for disk in disks]


def test_the_live_base_is_shown_else_the_newest(world):
    world.refused()
    assert '| refused' in world.run('show', world.image_id).out
    world.change_data(world.image_id, DATA)
    world.ask()
    assert '| wanted' in world.run('show', world.image_id).out


@pytest.mark.parametrize('verb', ['show', 'drop'])
def test_an_image_without_a_base_has_its_own_code(world, verb):
    ran = world.run(verb, world.image_id)
    assert (ran.code, ran.out) == (3, '')
    assert ran.err == f'There is no base of image {world.image_id}.\n'


def test_an_import_is_waited_for(world, meanwhile):
    running = []

    def put_back():
        world.lineage.put_back_base(running.pop(), BROKEN)

    meanwhile += [
        lambda: running.append(world.begin()),
        put_back,
        world.pass_time,
        world.import_now,
    ]
    ran = world.run('import', world.image_id)
    assert (ran.code, ran.out) == (0, '')
    asked, waits, runs, broken, _again, done = ran.err.splitlines()
    assert asked == f'Image {world.image_id} is to be imported.'
    assert waits == 'waiting for a manager (see "service list")'
    assert runs == f' 25 % [{7 * "#"}{23 * "."}] 1 MiB of 4 MiB'
    assert broken.startswith(f'waiting: {BROKEN} (next attempt 20')
    image = world.base().clone.image
    assert done == (
        f'Image {world.image_id} is ready: disks are cloned from {image}'
    )


def test_a_bar_fits_into_a_terminal(world, meanwhile, monkeypatch):
    monkeypatch.setenv('COLUMNS', '80')
    # What the tests capture is no terminal.
    monkeypatch.setattr(sys.stderr, 'isatty', lambda: True, raising=False)
    begun = []
    meanwhile += [
        lambda: begun.append(world.begin(len(DATA) - 1)),
        lambda: world.lineage.put_back_base(begun.pop(), BROKEN),
        world.pass_time,
        world.import_now,
    ]
    ran = world.run('import', world.image_id)
    bar = f' 99 % [{29 * "#"}.] 4 MiB of 4 MiB'
    assert f'\r\x1b[K{bar}\r\x1b[Kwaiting: {BROKEN}' in ran.err
    assert f'\r\x1b[KImage {world.image_id} is ready' in ran.err


def test_who_waits_for_others_is_told(world, meanwhile):
    world.ask(world.add_elsewhere(DATA[::-1]))
    world.begin()
    meanwhile.append(world.import_now)
    ran = world.run('import', world.image_id)
    assert ran.code == 0
    assert 'waiting for others: 1 being imported\n' in ran.err


def test_what_glance_copies_is_told(world, meanwhile):
    running = []

    def copied():
        world.lineage.copied_base(running.pop())

    meanwhile += [lambda: running.append(world.begin(0, Way.COPY)), copied]
    ran = world.run('import', world.image_id)
    assert ran.code == 0
    assert ran.err.splitlines()[2:] == [
        'Glance is copying it',
        f'Image {world.image_id} is copied: Glance has it in this cluster now',
    ]


def test_an_import_is_not_waited_for_if_told(world):
    ran = world.run('import', world.image_id, '--no-wait')
    assert (ran.code, ran.err) == (
        0,
        f'Image {world.image_id} is to be imported.\n'
        'See "rbdcloner-manage base list".\n',
    )
    assert world.base().state is BaseState.WANTED


def test_waiting_ends_in_time_and_nothing_else(world, monkeypatch):
    # A clock of its own: no test may sleep.
    monkeypatch.setattr(watching, '_now', itertools.count().__next__)
    monkeypatch.setattr(watching, '_pause', lambda: None)
    ran = world.run('import', world.image_id, '--timeout', '1')
    assert ran.code == 1
    assert ran.err.endswith('The managers go on with it.\n')
    assert world.base().state is BaseState.WANTED


@pytest.mark.parametrize('no_wait', [False, True])
def test_a_base_that_is_there_is_not_imported_again(world, no_wait):
    base = world.ready()
    ran = world.run('import', world.image_id, *['--no-wait'] * no_wait)
    assert ran.code == 0
    assert ran.err == (
        f'Image {world.image_id} is ready: disks are cloned from '
        f'{base.clone.image}\n'
    )
    assert len(world.lineage.bases()) == 1


def test_what_can_be_cloned_is_not_imported(world):
    image_id = world.add_image()
    ran = world.run('import', image_id)
    assert (ran.code, ran.err) == (
        0,
        f'Image {image_id} can be cloned as it is: there is nothing to '
        'import.\n',
    )
    assert world.lineage.bases() == []


def test_a_refused_image_is_tried_again(world, meanwhile):
    world.refused()
    world.change_data(world.image_id, DATA, checksum='sha512:0')
    meanwhile.append(world.import_now)
    ran = world.run('import', world.image_id)
    assert ran.code == 1
    assert ran.err.splitlines()[-1] == (
        f'Image {world.image_id} is refused: ChecksumDiffers: The data of '
        f'image {world.image_id} has another sha512 than Glance says.'
    )
    states = [base.state for base in world.lineage.bases()]
    assert states == [BaseState.REFUSED] * 2


def test_what_glance_does_not_have_has_its_own_code(world):
    unknown = str(uuid.uuid4())
    ran = world.run('import', unknown)
    assert (ran.code, ran.err) == (3, f'Glance has no image {unknown}.\n')
    assert world.lineage.bases() == []


def test_what_must_not_be_imported_is_not_begun(world):
    world.change_image(world.image_id, disk_format='ploop')
    ran = world.run('import', world.image_id)
    assert ran.code == 1
    assert 'is in format ploop, which is not imported.' in ran.err
    assert world.lineage.bases() == []


def test_where_imports_are_off_the_option_is_named(world):
    world.configure('limit = 0\n')
    ran = world.run('import', world.image_id)
    assert (ran.code, ran.err) == (
        1,
        f'Image {world.image_id} is not imported: "limit" in group [imports] '
        'is 0.\n',
    )
    assert world.lineage.bases() == []


def test_a_base_is_dropped_and_stays_so(world):
    image = world.ready().clone.image
    ran = world.run('drop', world.image_id)
    said = f'The base of image {world.image_id} is dropped.\n'
    assert (ran.code, ran.out) == (0, said)
    assert ran.err == (
        f'{image} goes to the trash and is destroyed; "retired list" shows '
        'it until then. Who asks for a disk of the image has it imported '
        'anew.\n'
    )
    ran = world.run('drop', world.image_id)
    assert (ran.code, ran.out, ran.err) == (0, said, '')
    world.manager.sweep_until_quiet()
    assert world.ceph.named('vms') == {}
    (row,) = world.lineage.page(Filters(glance_image_id=world.image_id))
    assert row.state is State.DELETED


def test_an_import_that_runs_is_dropped(world):
    def drop():
        world.glance.on_piece = None
        ran = world.run('drop', world.image_id)
        assert ran.code == 0
        assert 'Who imports it stops, and removes what it has made.' in ran.err

    world.ask()
    world.glance.on_piece = drop
    world.import_now()
    assert world.base().state is BaseState.DROPPED
    world.pass_time()
    world.manager.sweep_until_quiet()
    assert world.ceph.named('vms') == {}


def test_who_waits_for_a_dropped_import_is_told(world, meanwhile):
    meanwhile.append(lambda: world.run('drop', world.image_id))
    ran = world.run('import', world.image_id)
    assert ran.code == 1
    assert world.base().state is BaseState.DROPPED


def test_a_base_is_not_dropped_while_disks_need_it(world):
    base = world.ready()
    disks = [world.disk() for _ in range(4)]
    ran = world.run('drop', world.image_id)
    named = ', '.join(str(disk.image) for disk in disks[:3])
    assert (ran.code, ran.out) == (1, '')
    assert ran.err == (
        f'The base of image {world.image_id} is needed by {named} and 1 '
        'more. Delete them, or have them get its data as their own '
        '("flatten start").\n'
    )
    assert world.base() == base
    for disk in disks:
        world.manager.engine.remove(disk, service.ASKED)
    world.manager.sweep_until_quiet()
    assert world.run('drop', world.image_id).code == 0


def test_what_was_refused_is_not_dropped(world):
    world.refused()
    ran = world.run('drop', world.image_id)
    assert ran.code == 1
    assert ran.out == f'The base of image {world.image_id} is refused.\n'
    assert ran.err.startswith('There is nothing to drop. ChecksumDiffers: ')


@pytest.mark.parametrize(
    'arguments',
    [
        ['import', 'an-image', '--no-wait', '--timeout', '3'],
        ['import', 'an-image', '--timeout', 'x'],
        ['import'],
        ['drop'],
        ['list', '--limit', '-1'],
    ],
)
def test_wrong_usage_does_nothing(world, arguments):
    assert world.run(*arguments).code == 2
    assert world.lineage.bases() == []
