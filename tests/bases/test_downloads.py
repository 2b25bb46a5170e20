# SPDX-License-Identifier: Apache-2.0
"""A real Glance with two stores gives its data, and copies it across."""

import hashlib
import os
import time

import pytest

from rbdcloner import errors
from rbdcloner.images import glance
from tests import stack
from tests.bases import two_stores
from tests.functional import test_glance
from tests.unit.images import sessions

SIZE_BYTES = (5 << 20) + 7
UNKNOWN = test_glance.UNKNOWN


@pytest.fixture(scope='module')
def server(tmp_path_factory):
    with two_stores.made(tmp_path_factory.mktemp('two-stores')) as one:
        yield one


@pytest.fixture(scope='module')
def images(server):
    return glance.Glance(*sessions.of(server.url, 10))


def copied(images, image_id, store):
    """Return the image once Glance has copied it, or could not."""
    deadline = time.monotonic() + 60
    while True:
        image = images.image(image_id)
        if store in image.stores | image.not_copied_to:
            return image
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_data_comes_as_it_was_sent_with_what_proves_it(server, images):
    data = os.urandom(SIZE_BYTES)
    made = server.upload('data', data)
    image = images.image(made.id)
    assert image.checksum == f'sha512:{hashlib.sha512(data).hexdigest()}'
    assert (image.container_format, image.size_bytes) == ('bare', SIZE_BYTES)
    with images.download(made.id) as pieces:
        assert b''.join(pieces) == data


def test_what_has_no_data_cannot_be_downloaded(server, images):
    queued = server.client().images.create(
        name='queued', disk_format='raw', container_format='bare'
    )
    with pytest.raises(errors.ImageDataMissing), images.download(queued.id):
        pass
    with pytest.raises(errors.ImageNotFound), images.download(UNKNOWN):
        pass


def test_an_image_is_copied_to_another_store_once(server, images):
    made = server.upload('to be copied', os.urandom(SIZE_BYTES), store='far')
    assert images.image(made.id).stores == {'far'}
    assert images.copy_to(made.id, 'rbd')
    assert not images.copy_to(made.id, 'rbd')
    image = copied(images, made.id, 'rbd')
    assert image.stores == {'far', 'rbd'}
    assert image.not_copied_to == frozenset()
    assert any(one.url.startswith('rbd://') for one in image.locations)
    assert not images.copy_to(made.id, 'rbd')


def test_a_store_that_nobody_knows_is_copied_to_by_nobody(server, images):
    made = server.upload('not to be copied', os.urandom(SIZE_BYTES))
    assert not images.copy_to(made.id, 'unheard-of')
    with pytest.raises(errors.ImageNotFound):
        images.copy_to(UNKNOWN, 'far')


def test_a_glance_that_does_not_copy_says_so():
    one = stack.shared().glance
    made = one.upload('not to be copied', os.urandom(SIZE_BYTES))
    assert 'copy-image' not in (one.folder / 'glance-api.conf').read_text()
    assert not glance.Glance(*sessions.of(one.url, 10)).copy_to(made.id, 'rbd')
    one.delete(made.id)
