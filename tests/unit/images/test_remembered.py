# SPDX-License-Identifier: Apache-2.0
"""Threads that ask the same ask once, and nothing old outlives a forget."""

from concurrent import futures
import dataclasses
import threading

import pytest

from rbdcloner import errors
from rbdcloner import model
from rbdcloner.images import remembered

SHARED = model.GlanceImage(
    'an-image', 'active', 'raw', 1, False, 'shared', 'owner', frozenset(), ()
)


class Source:
    """Answers when it is let; counts how often it was asked."""

    def __init__(self):
        self.asked = []
        self.gate = threading.Event()
        self.gate.set()
        self.error = None
        self.found = SHARED

    def image(self, image_id):
        self.asked.append('image')
        self.gate.wait(10)
        if self.error:
            raise self.error
        return self.found

    def members(self, image_id):
        self.asked.append('members')
        return frozenset({'asker'})


def test_what_is_known_is_not_asked_again():
    source = Source()
    images = remembered.RememberingGlance(source)
    for _ in range(3):
        assert images.get('an-image').members == frozenset()
        assert images.get('an-image', 'owner').members == frozenset()
    assert source.asked == ['image']
    for _ in range(3):
        assert images.get('an-image', 'asker').members == {'asker'}
    assert source.asked == ['image', 'members']


def test_an_image_that_is_not_active_is_asked_for_again():
    source = Source()
    source.found = dataclasses.replace(SHARED, status='queued')
    images = remembered.RememberingGlance(source)
    assert images.get('an-image').status == 'queued'
    source.found = SHARED
    assert images.get('an-image').status == 'active'


def test_what_is_only_looked_at_is_not_kept():
    source = Source()
    images = remembered.RememberingGlance(source)
    assert images.look('an-image') == SHARED
    images.get('an-image')
    images.look('an-image')
    assert source.asked == ['image'] * 3


def test_many_threads_ask_once():
    source = Source()
    source.gate.clear()
    images = remembered.RememberingGlance(source)
    with futures.ThreadPoolExecutor(8) as pool:
        found = [pool.submit(images.get, 'an-image') for _ in range(8)]
        source.gate.set()
        assert {one.result(10) for one in found} == {SHARED}
    assert source.asked == ['image']


def test_an_error_reaches_all_who_waited_and_is_not_kept():
    source = Source()
    source.gate.clear()
    source.error = errors.GlanceUnavailable(reason='a test')
    images = remembered.RememberingGlance(source)
    with futures.ThreadPoolExecutor(4) as pool:
        found = [pool.submit(images.get, 'an-image') for _ in range(4)]
        source.gate.set()
        for one in found:
            with pytest.raises(errors.GlanceUnavailable):
                one.result(10)
    source.error = None
    assert images.get('an-image') == SHARED


def test_what_is_forgotten_is_asked_again():
    source = Source()
    images = remembered.RememberingGlance(source)
    images.get('an-image')
    images.forget('an-image')
    images.get('an-image')
    assert source.asked == ['image', 'image']


def test_an_answer_from_before_a_forget_is_not_kept():
    source = Source()
    source.gate.clear()
    images = remembered.RememberingGlance(source)
    with futures.ThreadPoolExecutor(1) as pool:
        early = pool.submit(images.get, 'an-image')
        while not source.asked:
            pass
        images.forget('an-image')
        source.gate.set()
        assert early.result(10) == SHARED
    images.get('an-image')
    assert source.asked == ['image', 'image']
