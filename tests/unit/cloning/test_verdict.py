# SPDX-License-Identifier: Apache-2.0
"""The first location that Ceph confirms is chosen, the others are named."""

import pytest

from rbdcloner import errors
from rbdcloner import model
from rbdcloner.cloning import verdict
from rbdcloner.cloning.eligibility import Refusal

FSID = '6f9f2d9e-2f0a-4a1c-9a54-3f1f4f1b9b6a'


class Looker:
    """A cluster to look at: answers by image name, or raises them."""

    fsid = FSID

    def __init__(self, **answers):
        self._answers = answers

    def find_snapshot(self, pool, namespace, image, snapshot):
        answer = self._answers[image]
        if isinstance(answer, Exception):
            raise answer
        of = model.Image(FSID, pool, namespace, image, '1234')
        return model.SnapshotFacts(
            model.Snapshot(of, snapshot, answer), 1 << 30, 22, True
        )


def an_image(*urls):
    return model.GlanceImage(
        'an-image',
        'active',
        'raw',
        1 << 30,
        False,
        'public',
        'owner',
        frozenset(),
        tuple(model.GlanceLocation(url) for url in urls),
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
    found = verdict.decide(driver, an_image(*urls))
    assert found.cloneable
    assert found.location == at('good')
    assert found.snapshot.snapshot.id == 7
    assert found.snapshot.snapshot.image.namespace == ''
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
    found = verdict.decide(Looker(bad=error), an_image(at('bad')))
    assert not found.cloneable
    assert found.location == ''
    assert found.refusals == ((at('bad'), reason),)
    assert found.summary == f'{reason} ({at("bad")})'


@pytest.mark.parametrize(
    'error',
    [
        errors.CephUnavailable(act='open'),
        errors.CephAuthentication(client='client.rbdcloner'),
    ],
)
def test_nothing_is_decided_when_ceph_does_not_answer(error):
    driver = Looker(bad=error, good=7)
    with pytest.raises(type(error)):
        verdict.decide(driver, an_image(at('bad'), at('good')))


def test_an_image_without_locations_says_so():
    found = verdict.decide(Looker(), an_image())
    assert found.refusals == (('', Refusal.NO_LOCATION),)
    assert found.summary == 'no-location'
