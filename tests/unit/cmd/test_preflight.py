# SPDX-License-Identifier: Apache-2.0
"""What imports need is looked for, and what is missing stops nothing.

A real cluster, database and key are in the functional tests.
"""

import dataclasses
import os

from oslo_config import cfg
from oslo_upgradecheck import upgradecheck
import pytest

from rbdcloner import conf as options
from rbdcloner import errors
from rbdcloner.cloning.generation import Generation
from rbdcloner.cmd import compose
from rbdcloner.cmd import preflight
from rbdcloner.cmd import status
from rbdcloner.db import engine
from rbdcloner.db import migration
from rbdcloner.model import Mark
from tests import ceph_double

# Of qemu 7.2, as Debian 12 has it, without qemu-block-extra.
_WITHOUT_RBD = """#!/bin/sh
echo "qemu-img: Could not open 'rbd:': Unknown protocol 'rbd'" >&2
exit 1
"""


@pytest.fixture
def folder(tmp_path):
    """Where scratch files may lie; it is made when one is needed."""
    return tmp_path / 'state' / 'scratch'


@pytest.fixture
def ceph(monkeypatch):
    made = ceph_double.CephDouble('vms', 'images')
    # In place of librados; the real one is in the functional tests.
    made.connect = made.close = lambda: None
    made.may_shut_out = lambda: True
    monkeypatch.setattr(compose, 'ceph', lambda conf: made)
    return made


@pytest.fixture
def conf(folder, ceph):
    made = cfg.ConfigOpts()
    options.register(made)
    made([], default_config_files=[])
    made.set_override('scratch_dir', str(folder), 'imports')
    return made


def problems(conf):
    """Return what is wrong, a line each; none of it is fatal."""
    found = list(preflight.import_problems(conf))
    assert not any(problem.fatal for problem in found)
    return [str(problem) for problem in found]


def test_nothing_is_wrong_and_nothing_is_made(conf, folder):
    assert problems(conf) == []
    assert not folder.parent.exists()


@pytest.mark.parametrize('missing', [['qemu-img'], ['qemu-img', 'setpriv']])
def test_programs_that_are_missing_are_named(
    conf, monkeypatch, tmp_path, missing
):
    programs = tmp_path / 'bin'
    programs.mkdir()
    for name in {'qemu-img', 'setpriv'} - set(missing):
        os.symlink(f'/usr/bin/{name}', programs / name)
    monkeypatch.setenv('PATH', str(programs))
    assert problems(conf) == [
        f'There is no program {name}: images that are not raw are not '
        'imported. Install it (in Debian: qemu-utils, util-linux), or set '
        '"limit" in [imports] to 0.'
        for name in missing
    ]


def test_a_qemu_img_without_rbd_is_found(conf, monkeypatch, tmp_path):
    program = tmp_path / 'qemu-img'
    program.write_text(_WITHOUT_RBD)
    program.chmod(0o755)
    monkeypatch.setenv('PATH', str(tmp_path), prepend=os.pathsep)
    (said,) = problems(conf)
    assert said.startswith('qemu-img knows nothing of RBD: images that are')
    assert 'qemu-block-extra' in said


def test_a_scratch_folder_that_cannot_be_used_is_named(conf, folder):
    folder.parent.write_text('a file')
    (said,) = problems(conf)
    assert said.startswith(
        f'Scratch folder {folder} cannot be used: {folder.parent} is not a '
        'folder: images that are not raw are not imported. Let the service '
        'write there, or set scratch_dir in group [imports]'
    )


def test_a_pool_that_is_missing_is_named(conf):
    conf.set_override('pool', 'bases', 'imports')
    assert problems(conf) == [
        'Ceph has no pool bases: nothing is imported. Run "ceph osd pool '
        'create bases" and "rbd pool init bases", or correct the name in the '
        'configuration.'
    ]


@pytest.mark.parametrize(
    ('pool', 'said'),
    [
        ({'access': 'read'}, 'may not write bases: nothing is imported. Run'),
        ({'full': True}, 'Pool bases is full: nothing is imported. Make'),
        ({'initialised': False}, 'is not initialised for RBD: nothing is'),
    ],
)
def test_a_pool_that_cannot_be_used_is_named(conf, ceph, pool, said):
    ceph.add_pool('bases', **pool)
    conf.set_override('pool', 'bases', 'imports')
    (problem,) = problems(conf)
    assert said in problem


def test_a_pool_of_disks_is_told_of_once(conf, ceph):
    ceph.add_pool('vms', full=True)
    assert problems(conf) == []


def test_ceph_that_is_down_is_told_of_elsewhere(conf, ceph):
    def connect():
        raise errors.CephUnavailable(act='connect')

    conf.set_override('pool', 'bases', 'imports')
    ceph.connect = connect
    assert problems(conf) == []


def test_a_key_manager_without_credentials_is_named(conf):
    conf.set_override('auth_type', 'token', 'key_manager')
    assert problems(conf) == []
    conf.set_override('verify_signatures', True, 'imports')
    (said,) = problems(conf)
    assert said.startswith('Group [key_manager] is not complete: ')
    assert ': nothing is imported. See ' in said


def test_who_wants_no_imports_needs_nothing(conf, folder, monkeypatch):
    monkeypatch.setenv('PATH', '/nowhere')
    conf.set_override('limit', 0, 'imports')
    conf.set_override('pool', 'bases', 'imports')
    assert problems(conf) == []


def test_missing_caps_on_a_data_pool_are_named(conf, ceph, monkeypatch):
    conf.set_override('disk_pools', ['vms'], 'ceph')
    conf.set_override('image_pools', [], 'ceph')
    facts = ceph.probe('vms')
    assert list(preflight.ceph_problems(conf)) == []
    # The double has all data of an image in the image's pool.
    monkeypatch.setattr(
        ceph,
        'probe',
        lambda pool: dataclasses.replace(
            facts, data_pool='vms-data', data_usable=False
        ),
    )
    (problem,) = preflight.ceph_problems(conf)
    assert problem.fatal
    assert 'may not read and write vms-data' in str(problem)
    assert '"profile rbd pool=vms-data"' in str(problem)


@pytest.fixture
def lineage(conf, tmp_path):
    conf.set_override(
        'connection', f'sqlite:///{tmp_path}/lineage.sqlite', 'database'
    )
    migration.upgrade(engine.connect(**conf.database))
    return compose.lineage(conf)


def advance_pool(ceph, **changes):
    """Let pool vms have another mark than the database."""
    text = ceph.lineage_mark('vms')
    mark = dataclasses.replace(Mark.of_text(text), **changes)
    ceph.mark_lineage('vms', text, mark.as_text())


def outdated(conf):
    """Return why nothing is destroyed, a line each; none of it is fatal."""
    found = list(preflight.generation_problems(conf))
    assert not any(problem.fatal for problem in found)
    return [str(problem) for problem in found]


def test_database_as_new_as_its_pools_is_no_problem(conf, ceph, lineage):
    # Before a manager marks the pool, and after.
    assert outdated(conf) == []
    assert ceph.lineage_mark('vms') == ''
    Generation(ceph, lineage, ['vms']).advance()
    assert outdated(conf) == []


def test_database_behind_a_pool_is_named_with_its_cure(conf, ceph, lineage):
    Generation(ceph, lineage, ['vms']).advance()
    advance_pool(ceph, generation=1000, stamp='newer')
    age = lineage.age()
    (line,) = outdated(conf)
    assert 'the database is older than pool vms' in line
    assert line.endswith('then "rbdcloner-manage db restored".')
    assert lineage.age() == age


def test_pool_of_another_database_is_named_with_its_cure(conf, ceph, lineage):
    Generation(ceph, lineage, ['vms']).advance()
    advance_pool(ceph, lineage='another')
    (line,) = outdated(conf)
    assert 'pool vms belongs to lineage another' in line
    assert '"rbdcloner-manage db restored --take POOL"' in line


def test_pool_that_lost_its_mark_is_named_with_its_cure(conf, ceph, lineage):
    Generation(ceph, lineage, ['vms']).advance()
    ceph.unmark_lineage('vms')
    (line,) = outdated(conf)
    assert 'pool vms lost its mark' in line
    assert '--take POOL' in line


def test_database_that_is_down_is_told_of_elsewhere(conf, ceph, tmp_path):
    conf.set_override(
        'connection', f'sqlite:///{tmp_path}/no/folder', 'database'
    )
    assert outdated(conf) == []


def test_upgrade_check_asks_for_the_generation(conf, ceph, lineage):
    Generation(ceph, lineage, ['vms']).advance()
    advance_pool(ceph, generation=1000, stamp='newer')
    result = status._result(lambda _: preflight.generation_problems(conf))
    assert result.code is upgradecheck.Code.WARNING
    assert 'Lineage' in [name for name, _ in status.Checks._upgrade_checks]
