# SPDX-License-Identifier: Apache-2.0
"""Glance's JSON becomes the model, or is refused."""

import hypothesis
from hypothesis import strategies
import pytest

from rbdcloner.images import answers
from rbdcloner.model import GlanceLocation
from rbdcloner.model import ImageSignature

IMAGE_ID = '250ccb46-7d46-47f7-a2d9-9130db92e2c0'
ACTIVE = {
    'id': IMAGE_ID,
    'status': 'active',
    'disk_format': 'raw',
    'size': 3,
    'os_hidden': False,
    'visibility': 'shared',
    'owner': None,
    'locations': [{'url': 'rbd://f/p/i/s', 'metadata': {'store': 'rbd'}}],
    'direct_url': 'rbd://other',
    'tags': [],
    'container_format': 'bare',
    'checksum': 'D41D',
    'os_hash_algo': 'sha512',
    'os_hash_value': 'CF83',
    'stores': 'fast,slow',
    'os_glance_importing_to_stores': 'far',
    'os_glance_failed_import': '',
}
SIGNED = {
    'img_signature': 'c2lnbmVk',
    'img_signature_hash_method': 'SHA-256',
    'img_signature_key_type': 'RSA-PSS',
    'img_signature_certificate_uuid': 'a-certificate',
}
QUEUED = {'id': IMAGE_ID, 'status': 'queued', 'visibility': 'public'}


def test_an_active_image_is_taken_over():
    image = answers.image(ACTIVE, IMAGE_ID)
    assert (image.status, image.disk_format) == ('active', 'raw')
    assert (image.size_bytes, image.hidden) == (3, False)
    assert (image.visibility, image.owner) == ('shared', '')
    assert image.locations == (
        GlanceLocation('rbd://f/p/i/s', {'store': 'rbd'}),
    )


def test_what_a_queued_image_lacks_is_empty():
    image = answers.image(QUEUED, IMAGE_ID)
    assert (image.disk_format, image.size_bytes) == ('', 0)
    assert image.locations == ()
    assert (image.container_format, image.checksum) == ('', '')
    assert image.stores == frozenset()
    assert image.signature is None


@pytest.mark.parametrize(
    ('changes', 'checksum'),
    [
        ({}, 'sha512:cf83'),
        ({'os_hash_algo': None, 'os_hash_value': None}, 'md5:d41d'),
        ({'os_hash_algo': 'unheard-of'}, 'md5:d41d'),
        ({'os_hash_algo': 'shake_128'}, 'md5:d41d'),
        ({'os_hash_algo': 'md5', 'checksum': None}, 'md5:cf83'),
        ({'os_hash_value': None, 'checksum': None}, ''),
        ({'os_hash_algo': 'unheard-of', 'checksum': None}, ''),
    ],
)
def test_the_best_checksum_is_taken_that_can_be_computed(changes, checksum):
    image = answers.image({**ACTIVE, **changes}, IMAGE_ID)
    assert image.checksum == checksum


def test_stores_are_told_by_what_they_have():
    image = answers.image(ACTIVE, IMAGE_ID)
    assert image.stores == {'fast', 'slow'}
    assert image.copying_to == {'far'}
    assert image.not_copied_to == frozenset()


def test_a_signature_is_taken_over_when_it_is_whole():
    image = answers.image({**ACTIVE, **SIGNED}, IMAGE_ID)
    assert image.signature == ImageSignature(
        'c2lnbmVk', 'SHA-256', 'RSA-PSS', 'a-certificate'
    )
    for name in SIGNED:
        partly = {**ACTIVE, **SIGNED, name: None}
        assert answers.image(partly, IMAGE_ID).signature is None


@pytest.mark.parametrize('listed', [None, []])
def test_the_direct_url_is_the_last_resort(listed):
    image = answers.image({**ACTIVE, 'locations': listed}, IMAGE_ID)
    assert image.locations == (GlanceLocation('rbd://other'),)


@pytest.mark.parametrize(
    'changes',
    [
        {'id': 'another'},
        {'id': None},
        {'status': None},
        {'status': 1},
        {'visibility': None},
        {'size': '3'},
        {'size': 3.0},
        {'size': True},
        {'size': -1},
        {'os_hidden': 'false'},
        {'owner': {}},
        {'locations': {}},
        {'locations': ['rbd://f/p/i/s']},
        {'locations': [{}]},
        {'locations': [{'url': None}]},
        {'locations': [{'url': 'x', 'metadata': []}]},
        {'direct_url': []},
        {'container_format': []},
        {'checksum': 7},
        {'os_hash_algo': []},
        {'os_hash_value': 'not hexadecimal'},
        {'stores': ['fast']},
        {'os_glance_importing_to_stores': 1},
        {'os_glance_failed_import': {}},
        {'img_signature': b'signed'},
        {'img_signature_key_type': 1},
    ],
)
def test_an_image_of_wrong_types_is_refused(changes):
    with pytest.raises(ValueError):
        answers.image({**ACTIVE, **changes}, IMAGE_ID)


def test_only_strings_of_a_locations_metadata_are_kept():
    location = {'url': 'x', 'metadata': {'store': 'a', 'odd': [1]}}
    assert answers.locations([location])[0].metadata == {'store': 'a'}


def test_members_are_project_ids():
    listed = [{'member_id': 'a', 'status': 'pending'}, {'member_id': 'b'}]
    assert answers.members({'members': listed}) == {'a', 'b'}


json = strategies.recursive(
    strategies.none()
    | strategies.booleans()
    | strategies.integers()
    | strategies.text(),
    lambda inner: (
        strategies.lists(inner)
        | strategies.dictionaries(
            strategies.sampled_from([*ACTIVE, *SIGNED, 'url', 'members']),
            inner,
        )
    ),
)


@hypothesis.given(json)
def test_nonsense_is_refused_and_breaks_nothing(body):
    for take in (
        lambda: answers.image(body, IMAGE_ID),
        lambda: answers.locations(body),
        lambda: answers.members(body),
    ):
        try:
            take()
        except ValueError as exc:
            assert str(exc)
