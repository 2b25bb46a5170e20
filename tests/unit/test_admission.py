# SPDX-License-Identifier: Apache-2.0
"""Which request is begun, which waits, which is refused."""

import itertools
import math
import threading

import testtools

from rbdcloner import admission
from rbdcloner import errors

DELETIONS, CREATIONS = 'deletions', 'creations'

_numbers = itertools.count()


def request(
    kind: str = '', call_id: str = '', age_s: float = 0
) -> admission.Request:
    """Return a request whose caller waits for 5 s, received *age_s* ago."""
    now = admission.time.monotonic()
    return admission.Request(
        call_id or f'call {next(_numbers)}', 5, kind, None, now - age_s
    )


class AdmissionTest(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.room = admission.Admission(threads=4, places=8)

    def enter(self, count: int, kind: str = '') -> list[bool]:
        return [self.room.enter(request(kind)) for _ in range(count)]

    def refused(self, kind: str = '') -> errors.ServiceBusy:
        error = self.assertRaises(
            errors.ServiceBusy, self.room.enter, request(kind)
        )
        self.assertTrue(error.retryable)
        return error

    def test_begins_as_many_as_there_are_threads(self) -> None:
        self.assertEqual([True] * 4 + [False], self.enter(5))

    def test_refuses_what_has_no_place_to_wait(self) -> None:
        self.enter(4 + 8)
        self.assertEqual(8, self.refused().kwargs['waiting'])

    def test_without_places_refuses_when_all_threads_are_busy(self) -> None:
        self.room = admission.Admission(threads=1, places=0)
        self.assertEqual([True], self.enter(1))
        self.assertEqual(0, self.refused().kwargs['waiting'])

    def test_thread_goes_on_with_who_has_waited_longest(self) -> None:
        first, *_ = busy = [request() for _ in range(4)]
        waiting = [request() for _ in range(2)]
        for each in (*busy, *waiting):
            self.room.enter(each)
        self.assertIs(waiting[0], self.room.leave(first))
        self.assertIs(waiting[1], self.room.leave(waiting[0]))
        self.assertIsNone(self.room.leave(waiting[1]))
        self.assertTrue(self.room.enter(request()))

    def test_kind_leaves_threads_and_places_to_others(self) -> None:
        for kind, other in (DELETIONS, CREATIONS), (CREATIONS, DELETIONS):
            with self.subTest(kind):
                self.room = admission.Admission(threads=4, places=8)
                begun = self.enter(2 + 5, kind)
                self.assertEqual([True] * 2 + [False] * 5, begun)
                self.refused(kind)
                self.assertEqual([True] + [False] * 2, self.enter(3, other))
                self.refused(other)
                self.assertEqual([True, False], self.enter(2))
                self.refused()

    def test_creation_overtakes_deletions_that_have_no_thread(self) -> None:
        self.enter(2 + 2, DELETIONS)
        creation, later = request(CREATIONS), request(CREATIONS)
        self.assertTrue(self.room.enter(creation))
        self.assertFalse(self.room.enter(later))
        self.assertIs(later, self.room.leave(creation))

    def test_deletion_waits_until_a_deletion_is_done(self) -> None:
        deletions = [request(DELETIONS) for _ in range(3)]
        for each in deletions:
            self.room.enter(each)
        creation = request(CREATIONS)
        self.room.enter(creation)
        self.assertIsNone(self.room.leave(creation))
        self.assertIs(deletions[2], self.room.leave(deletions[0]))

    def test_lone_thread_does_deletions_too(self) -> None:
        self.room = admission.Admission(threads=1, places=1)
        self.assertEqual([True, False], self.enter(2, DELETIONS))

    def test_call_that_is_sent_again_waits_once(self) -> None:
        busy = [request() for _ in range(4)]
        for each in busy:
            self.room.enter(each)
        first, other, again = (
            request(call_id=call_id) for call_id in ('a', 'b', 'a')
        )
        for each in (first, other, again):
            self.assertFalse(self.room.enter(each))
        self.assertIs(again, self.room.leave(busy[0]))
        self.assertIs(other, self.room.leave(busy[1]))
        self.assertIsNone(self.room.leave(busy[2]))

    def test_calls_without_an_id_are_different_calls(self) -> None:
        self.enter(4)
        nameless = [
            admission.Request('', math.inf, '', None) for _ in range(8)
        ]
        for each in nameless:
            self.assertFalse(self.room.enter(each))
        self.refused()

    def test_place_of_a_caller_that_gave_up_is_free(self) -> None:
        self.enter(4)
        for _ in range(8):
            self.assertFalse(self.room.enter(request(age_s=6)))
        self.assertFalse(self.room.enter(request()))
        self.assertEqual([False] * 7, self.enter(7))
        self.refused()

    def test_counts_are_right_after_many_threads(self) -> None:
        def work() -> None:
            for number in range(300):
                entered: admission.Request | None
                entered = request(('', DELETIONS, CREATIONS)[number % 3])
                try:
                    begun = self.room.enter(entered)
                except errors.ServiceBusy:
                    # Those that left their requests waiting were faster.
                    continue
                while begun and entered is not None:
                    entered = self.room.leave(entered)

        threads = [threading.Thread(target=work) for _ in range(8)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        self.assertEqual([True] * 4 + [False], self.enter(5))
