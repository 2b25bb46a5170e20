# SPDX-License-Identifier: Apache-2.0
"""A real Glance is asked, in each state that an image and it can be in."""

import time

import pytest

from rbdcloner import errors
from rbdcloner.cmd import preflight
from rbdcloner.images import glance
from tests import stack
from tests.stack import glance as glance_server
from tests.unit.images import sessions

TIMEOUT_S = 1.5
UNKNOWN = '250ccb46-7d46-47f7-a2d9-9130db92e2c0'
CLOSED_POLICY = 'fetch_image_location: "!"\n'
DENYING_POLICY = 'get_members: "!"\n'


def started(folder, **options):
    cluster = stack.shared().ceph
    return glance_server.Glance(folder, cluster, **options)


def asking(server, timeout_s=10):
    return glance.Glance(*sessions.of(server.url, timeout_s))


@pytest.fixture(scope='module')
def server(tmp_path_factory):
    """A Glance of this file's own: it is stopped and paused."""
    with started(tmp_path_factory.mktemp('open') / 'stack') as one:
        yield one


@pytest.fixture(scope='module')
def images(server):
    return asking(server)


@pytest.fixture(scope='module')
def active(server):
    return server.upload('active', b'x' * 4096)


def test_an_active_image_has_the_location_of_its_snapshot(images, active):
    found = images.get(active.id, 'anybody')
    assert (found.id, found.status) == (active.id, 'active')
    assert (found.disk_format, found.size_bytes) == ('raw', 4096)
    assert (found.visibility, found.hidden) == ('public', False)
    assert found.members == frozenset()
    (location,) = found.locations
    parts = location.url.removeprefix('rbd://').split('/')
    assert parts[1:] == ['images', active.id, 'snap']


def test_images_without_data_have_no_location(server, images):
    made = server.client().images.create(
        name='queued', disk_format='raw', container_format='bare'
    )
    found = images.get(made.id)
    assert (found.status, found.locations) == ('queued', ())
    stopped = server.upload('deactivated', b'x')
    server.client().images.deactivate(stopped.id)
    found = images.get(stopped.id)
    assert (found.status, found.locations) == ('deactivated', ())


def test_a_hidden_image_says_so(server, images):
    made = server.upload('hidden', b'x', os_hidden=True)
    assert images.get(made.id).hidden


def test_a_private_image_names_its_owner(server, images):
    made = server.upload('private', b'x', visibility='private', owner='me')
    found = images.get(made.id, 'you')
    assert (found.visibility, found.owner) == ('private', 'me')
    assert found.members == frozenset()


def test_a_shared_image_names_its_members_to_whom_it_matters(server, images):
    made = server.upload('shared', b'x', visibility='shared', owner='me')
    server.client().image_members.create(made.id, 'you')
    assert images.get(made.id, 'you').members == {'you'}
    assert images.get(made.id, 'me').members == frozenset()
    assert images.get(made.id).members == frozenset()


def test_a_deleted_image_and_one_that_never_was_are_unknown(server, images):
    made = server.upload('deleted', b'x')
    server.delete(made.id)
    for image_id in (made.id, UNKNOWN):
        with pytest.raises(errors.ImageNotFound):
            images.get(image_id)


def test_private_image_of_another_project_proves_sight(server, images):
    server.upload('theirs', b'x', visibility='private', owner='them')
    server.upload('ours', b'x', visibility='private', owner='service')
    images.confirm_sight()
    server.grant('member', 'reader', 'service')
    try:
        with pytest.raises(errors.GlanceHidesImages):
            images.confirm_sight()
    finally:
        server.grant('admin', 'service')


def problems(server):
    """Return what the checks of this service say of a Glance."""
    conf = sessions.configured(
        auth_type='none', endpoint_override=server.url, timeout=10
    )
    return [str(each) for each in preflight.glance_problems(conf)]


def test_checks_name_the_role_that_is_missing(tmp_path):
    """Of a cloud without private images, whose administrator sees all."""
    hiding = {'DEFAULT': {'show_image_direct_url': False}}
    closed = started(tmp_path / 'stack', conf=hiding, policy=CLOSED_POLICY)
    with closed as empty:
        asking(empty).confirm_sight()
        assert problems(empty) == []
        empty.upload('public', b'x')
        (said,) = problems(empty)
        assert 'the role service' in said
        empty.grant('member', 'reader', 'service')
        (said,) = problems(empty)
        assert 'the role admin' in said
        with pytest.raises(errors.GlanceHidesImages):
            asking(empty).confirm_sight()


def beside(server, folder, policy, **options):
    """Return another Glance on the same database, not started."""
    database = {'connection': f'sqlite:///{server.folder}/glance.sqlite'}
    conf = {'database': database, 'DEFAULT': options}
    return started(folder / 'stack', policy=policy, conf=conf)


def test_the_images_own_locations_are_the_second_place(
    server, images, active, tmp_path
):
    showing = {'show_multiple_locations': True}
    with beside(server, tmp_path, CLOSED_POLICY, **showing) as closed:
        found = asking(closed).get(active.id)
    assert found.locations == images.get(active.id).locations


def test_the_direct_url_is_the_third_place(server, images, active, tmp_path):
    with beside(server, tmp_path, CLOSED_POLICY) as direct:
        (location,) = asking(direct).get(active.id).locations
    assert location.url == images.get(active.id).locations[0].url


def test_a_glance_that_shows_no_location_says_none(server, active, tmp_path):
    hiding = {'show_image_direct_url': False}
    with beside(server, tmp_path, CLOSED_POLICY, **hiding) as silent:
        assert asking(silent).get(active.id).locations == ()


def test_refused_credentials_are_named(server, tmp_path):
    made = server.upload('shared', b'x', visibility='shared', owner='me')
    with (
        beside(server, tmp_path, DENYING_POLICY) as denying,
        pytest.raises(errors.GlanceForbidden, match=made.id),
    ):
        asking(denying).get(made.id, 'you')


def test_a_paused_glance_costs_one_timeout(server, active):
    images = asking(server, TIMEOUT_S)
    images.get(active.id)
    server.pause()
    try:
        began = time.monotonic()
        with pytest.raises(errors.GlanceUnavailable, match='in time'):
            images.get(active.id)
        assert TIMEOUT_S <= time.monotonic() - began < 2 * TIMEOUT_S
    finally:
        server.resume()
    assert images.get(active.id).status == 'active'


def test_a_stopped_glance_is_unavailable_and_then_back(server, active):
    images = asking(server, TIMEOUT_S)
    images.get(active.id)
    server.stop()
    try:
        began = time.monotonic()
        with pytest.raises(errors.GlanceUnavailable, match='no connection'):
            images.get(active.id)
        assert time.monotonic() - began < TIMEOUT_S
    finally:
        server.start()
    assert images.get(active.id).status == 'active'
