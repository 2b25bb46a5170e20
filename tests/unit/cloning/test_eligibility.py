# SPDX-License-Identifier: Apache-2.0
"""Locations are told apart, and images refused, by name."""

import datetime
from urllib import parse

import hypothesis
from hypothesis import strategies
import pytest

from rbdcloner import errors
from rbdcloner import model
from rbdcloner.cloning import eligibility
from rbdcloner.cloning.eligibility import Location
from rbdcloner.cloning.eligibility import Refusal

FSID = '6f9f2d9e-2f0a-4a1c-9a54-3f1f4f1b9b6a'
GOOD = f'rbd://{FSID}/images/an-image/snap'


def an_image(*urls, **changes):
    facts = {
        'id': 'an-image',
        'status': 'active',
        'disk_format': 'raw',
        'size_bytes': 1 << 30,
        'hidden': False,
        'visibility': 'public',
        'owner': 'owner',
        'members': frozenset(),
        'locations': tuple(model.GlanceLocation(url) for url in urls),
    }
    return model.GlanceImage(**{**facts, **changes})


@pytest.mark.parametrize(
    ('url', 'expected'),
    [
        (GOOD, Location(FSID, 'images', 'an-image', 'snap')),
        ('rbd://f/a%2Fb/c%20d/e%40f', Location('f', 'a/b', 'c d', 'e@f')),
        ('rbd://f/p%C3%A9/i/s', Location('f', 'pé', 'i', 's')),
        ('rbd://f/100%/i/s', Location('f', '100%', 'i', 's')),
        ('rbd://f/p/i/s?x#y', Location('f', 'p', 'i', 's?x#y')),
        ('rbd://an-image', Refusal.NOT_A_SNAPSHOT),
        ('rbd://', Refusal.MALFORMED),
        ('rbd:///', Refusal.MALFORMED),
        ('rbd://f/p/i', Refusal.MALFORMED),
        ('rbd://f/p', Refusal.MALFORMED),
        ('rbd://f/p/i/', Refusal.MALFORMED),
        ('rbd:///p/i/s', Refusal.MALFORMED),
        ('rbd://f//i/s', Refusal.MALFORMED),
        ('rbd://f/p/i/s/', Refusal.MALFORMED),
        ('rbd://f/p/n/i/s', Refusal.MALFORMED),
        ('rbd://f/p/i%00/s', Refusal.MALFORMED),
        ('rbd://f/p/i%FF/s', Refusal.MALFORMED),
        ('rbd://f/p/\ud800/s', Refusal.MALFORMED),
        ('', Refusal.NOT_RBD),
        ('rbd', Refusal.NOT_RBD),
        ('rbd:f/p/i/s', Refusal.NOT_RBD),
        ('RBD://f/p/i/s', Refusal.NOT_RBD),
        (' rbd://f/p/i/s', Refusal.NOT_RBD),
        ('file:///var/lib/glance/images/x', Refusal.NOT_RBD),
        ('cinder://lvm/volume', Refusal.NOT_RBD),
        ('swift+https://user:key@host/container/x', Refusal.NOT_RBD),
    ],
)
def test_a_location_is_taken_apart_or_refused(url, expected):
    assert eligibility.parse_location(url) == expected


@hypothesis.given(strategies.text())
@hypothesis.example('rbd://%/%2/%zz/%E2%28')
def test_the_parser_never_raises(text):
    for url in (text, f'rbd://{text}', f'rbd://{text}/p/i/{text}'):
        found = eligibility.parse_location(url)
        assert isinstance(found, Location | Refusal)


names = strategies.text(
    strategies.characters(exclude_categories=['Cs'], min_codepoint=1),
    min_size=1,
)


@hypothesis.given(strategies.lists(names, min_size=4, max_size=4))
def test_what_glance_quotes_is_unquoted(parts):
    quoted = '/'.join(parse.quote(part, '') for part in parts)
    found = eligibility.parse_location(f'rbd://{quoted}')
    assert found == Location(*parts)


@pytest.mark.parametrize(
    ('urls', 'formats', 'expected'),
    [
        ((), 'raw', [Refusal.NO_LOCATION]),
        ((GOOD,), 'raw', [Location(FSID, 'images', 'an-image', 'snap')]),
        ((GOOD,), 'qcow2', [Refusal.NOT_RAW]),
        ((GOOD,), 'raw in ova', [Refusal.NOT_BARE]),
        ((GOOD,), 'raw in compressed', [Refusal.NOT_BARE]),
        ((GOOD,), 'raw in ', [Refusal.NOT_BARE]),
        (('rbd://other/p/i/s',), 'raw', [Refusal.OTHER_CLUSTER]),
        (('rbd://other/p/i/s',), 'qcow2', [Refusal.OTHER_CLUSTER]),
        (
            ('file:///x', 'rbd://x', GOOD, 'rbd:///'),
            'raw',
            [
                Refusal.NOT_RBD,
                Refusal.NOT_A_SNAPSHOT,
                Location(FSID, 'images', 'an-image', 'snap'),
                Refusal.MALFORMED,
            ],
        ),
    ],
)
def test_every_location_is_judged_in_order(urls, formats, expected):
    disk_format, inside, container = formats.partition(' in ')
    image = an_image(
        *urls,
        disk_format=disk_format,
        container_format=container if inside else 'bare',
    )
    judged = list(eligibility.candidates(image, FSID))
    assert [found for _url, found in judged] == expected
    assert tuple(url for url, _found in judged) == (urls or ('',))


def test_every_refusal_has_a_code_and_a_sentence():
    for refusal in Refusal:
        assert refusal == refusal.value
        assert f'{refusal}' == refusal.value
        assert refusal.sentence[0].isupper()
        assert not refusal.sentence.endswith('.')
        assert Refusal(refusal.value) is refusal


@pytest.mark.parametrize(
    'changes',
    [
        {'visibility': 'public'},
        {'visibility': 'public', 'hidden': True},
        {'visibility': 'community'},
        {'visibility': 'private', 'owner': 'asker'},
        {'visibility': 'shared', 'owner': 'asker'},
        {'visibility': 'shared', 'members': frozenset({'x', 'asker'})},
    ],
)
def test_an_image_available_to_the_project_is_usable(changes):
    eligibility.check_usable(an_image(**changes), 'asker')


@pytest.mark.parametrize(
    ('changes', 'error'),
    [
        ({'status': 'queued'}, errors.ImageNotActive),
        ({'status': 'deactivated'}, errors.ImageNotActive),
        ({'status': ''}, errors.ImageNotActive),
        ({'visibility': 'private'}, errors.ImageForbidden),
        ({'visibility': 'shared'}, errors.ImageForbidden),
        ({'visibility': ''}, errors.ImageForbidden),
        (
            {'visibility': 'shared', 'members': frozenset({'x'})},
            errors.ImageForbidden,
        ),
        (
            {'visibility': 'private', 'members': frozenset({'asker'})},
            errors.ImageForbidden,
        ),
    ],
)
def test_an_image_that_is_not_for_the_project_is_refused(changes, error):
    with pytest.raises(error):
        eligibility.check_usable(an_image(**changes), 'asker')


def test_no_project_is_not_the_owner_of_an_unowned_image():
    with pytest.raises(errors.ImageForbidden):
        eligibility.check_usable(an_image(visibility='private', owner=''), '')


@pytest.mark.parametrize(
    ('url', 'shown'),
    [
        (GOOD, GOOD),
        ('file:///var/lib/x', 'file:///var/lib/x'),
        ('swift+https://u:SECRET@h/c/o', 'swift+https://***@h/c/o'),
        ('s3+https://k:SEC/RET@h/b/o', 's3+https://***@h/b/o'),
        ('s3://k:SEC@RET@h/b/o', 's3://***@h/b/o'),
        ('s3://k:SEC?RET@h/b/o', 's3://***'),
        ('https://h/o?sig=SECRET', 'https://h/o?***'),
        ('https://h/o?sig=SEC@RET', 'https://***'),
        ('https://h/o#SECRET', 'https://h/o#***'),
        ('u:SECRET', '***'),
        ('u:SECRET@h://x', '***'),
        ('', '***'),
        ('rbd://a\nb', 'rbd://a\ufffdb'),
    ],
)
def test_secrets_in_a_location_are_not_shown(url, shown):
    assert eligibility.redact(url) == shown


@hypothesis.given(strategies.text())
def test_what_is_shown_is_one_short_printable_line(text):
    for url in (text, f'rbd://{text}'):
        shown = eligibility.redact(url)
        assert shown.isprintable()
        assert len(shown) <= 200


@hypothesis.given(
    strategies.text(alphabet=strategies.characters(categories=['L', 'P']))
)
def test_no_key_survives_redaction(noise):
    url = f'swift://user:{noise}SECRET{noise}@host/container/object'
    assert 'SECRET' not in eligibility.redact(url)


class Looker:
    """A cluster to look at: answers by image name, or raises them."""

    fsid = FSID

    def __init__(self, size_bytes=1 << 30, **answers):
        self._size_bytes = size_bytes
        self._answers = answers

    def find_snapshot(self, pool, namespace, image, snapshot):
        answer = self._answers[image]
        if isinstance(answer, Exception):
            raise answer
        of = model.Image(FSID, pool, namespace, image, '1234')
        return model.SnapshotFacts(
            model.Snapshot(of, snapshot, answer),
            size_bytes=self._size_bytes,
            order=22,
            protected=True,
            trashed=False,
            created_at=datetime.datetime.now(datetime.UTC),
        )


def at(image):
    return f'rbd://{FSID}/images/{image}/snap'


def test_the_first_good_location_is_chosen_and_those_before_are_named():
    urls = ('swift://u:SECRET@h/c', at('gone'), at('good'), at('better'))
    driver = Looker(
        gone=errors.RbdImageNotFound(pool='images', image='gone'),
        good=7,
        better=8,
    )
    found = eligibility.judge(an_image(*urls), driver)
    assert found.cloneable
    assert found.location == at('good')
    assert found.facts.snapshot.id == 7
    assert found.facts.snapshot.image.namespace == ''
    assert found.refusals == (
        ('swift://***@h/c', Refusal.NOT_RBD),
        (at('gone'), Refusal.IMAGE_MISSING),
    )
    assert found.summary == f'{at("good")} can be cloned'


@pytest.mark.parametrize(
    ('error', 'reason'),
    [
        (errors.PoolNotFound(pool='p'), 'pool-missing'),
        (errors.RbdImageNotFound(pool='p', image='i'), 'image-missing'),
        (
            errors.SnapshotNotFound(pool='p', image='i', snapshot='s'),
            'snapshot-missing',
        ),
        (
            errors.SnapshotTrashed(pool='p', image='i', snapshot='s'),
            'snapshot-trashed',
        ),
        (errors.CephForbidden(act='open', pool='p'), 'forbidden'),
        (errors.CephRefused(act='open', reason='EIO'), 'refused'),
    ],
)
def test_what_ceph_refuses_has_a_name(error, reason):
    found = eligibility.judge(an_image(at('bad')), Looker(bad=error))
    assert not found.cloneable
    assert found.location == ''
    assert found.refusals == ((at('bad'), reason),)
    assert found.summary == f'{reason} ({at("bad")})'


def test_snapshot_without_data_is_refused():
    found = eligibility.judge(an_image(at('good')), Looker(0, good=7))
    assert found.refusals == ((at('good'), Refusal.EMPTY),)


@pytest.mark.parametrize(
    'error',
    [
        errors.CephUnavailable(act='open'),
        errors.CephAuthentication(
            problem='The key is damaged', remedy='Replace it'
        ),
    ],
)
def test_nothing_is_decided_when_ceph_does_not_answer(error):
    driver = Looker(bad=error, good=7)
    with pytest.raises(type(error)):
        eligibility.judge(an_image(at('bad'), at('good')), driver)


def test_an_image_without_locations_says_so():
    found = eligibility.judge(an_image(), Looker())
    assert found.refusals == (('', Refusal.NO_LOCATION),)
    assert found.summary == 'no-location'


def test_without_a_project_only_the_image_is_looked_at():
    eligibility.check_usable(an_image(visibility='private'))
    with pytest.raises(errors.ImageNotActive):
        eligibility.check_usable(an_image(status='queued'))
