# SPDX-License-Identifier: Apache-2.0
"""Glance's JSON becomes the model, or is refused."""

import hypothesis
from hypothesis import strategies
import pytest

from rbdcloner.images import answers
from rbdcloner.model import GlanceLocation

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
            strategies.sampled_from([*ACTIVE, 'url', 'members']), inner
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
