# SPDX-License-Identifier: Apache-2.0
"""What a worker does unasked: how it is told to end, and says that it fails.

That a real one ends is in the functional tests.
"""

import logging
import threading

import fixtures
import testtools

from rbdcloner import errors
from rbdcloner.cmd import chores
from rbdcloner.states import State
from tests.unit.cloning import service


class StoppingTest(testtools.TestCase):
    """Nothing is begun any more."""

    def setUp(self) -> None:
        super().setUp()
        self.service = self.useFixture(service.Service())
        self.process = self.service.process()
        self.stopping = threading.Event()
        self.stopping.set()
        request = service.request(self.service.add_image())
        self.disk = self.process.engine.create_disk(request)

    def states(self) -> list[str]:
        return [state for _name, state in self.service.rows()]

    def test_the_reaper_destroys_nothing(self) -> None:
        self.process.engine.remove(self.disk, service.ASKED)
        self.assertEqual(0, self.process.reaper.sweep(self.stopping))
        self.assertEqual([State.RETIRED], self.states())
        self.assertEqual(1, self.process.reaper.sweep())
        self.assertEqual([State.DELETED], self.states())

    def test_the_recovery_resolves_nothing(self) -> None:
        lineage = self.process.lineage
        held = lineage.hold(self.disk, 'the dead', -1)
        lineage.move(held, State.DELETING)
        self.assertEqual(0, self.process.recovery.sweep(self.stopping))
        self.assertEqual([State.DELETING], self.states())
        self.assertEqual(1, self.process.recovery.sweep())
        self.assertEqual([State.RETIRED], self.states())

    def test_the_adoption_adopts_nothing(self) -> None:
        name = f'{self.disk.instance_uuid}_disk.swap'
        whose = f'{{"instance_uuid": "{self.disk.instance_uuid}"}}'
        self.service.ceph.add_image('vms', name, service.MIB)
        self.service.ceph.note('vms', name, whose)
        self.assertEqual(0, self.process.noted.look(self.stopping))
        self.assertEqual([State.READY], self.states())
        self.assertEqual(1, self.process.noted.look())

    def test_the_survey_follows_nothing(self) -> None:
        self.service.ceph.trash(self.disk.image)
        self.service.ceph.purge(self.disk.image)
        self.process.survey.look(self.stopping)
        self.assertEqual([State.READY], self.states())
        self.process.survey.look()
        self.assertEqual([State.RETIRED], self.states())


class FailingTest(testtools.TestCase):
    """A failure is told when it begins, and when it is over."""

    def setUp(self) -> None:
        super().setUp()
        self.log = self.useFixture(fixtures.FakeLogger(level=logging.INFO))
        self.failures: list[Exception | None] = []
        self.chore = chores.Chore('survey', self.act, 1, threading.Event())

    def act(self) -> None:
        failure = self.failures.pop(0)
        if failure is not None:
            raise failure

    def said(self, *failures: Exception | None) -> list[str]:
        self.failures = list(failures)
        for _ in failures:
            self.chore.do()
        return self.log.output.splitlines()

    def test_what_lasts_is_told_once(self) -> None:
        down = errors.DatabaseUnavailable(reason='down')
        said = self.said(down, down, down)
        self.assertEqual([f'The survey is tried again: {down}'], said)

    def test_what_changes_is_told_again(self) -> None:
        down = errors.DatabaseUnavailable(reason='down')
        full = errors.DatabaseUnavailable(reason='full')
        self.assertEqual(2, len(self.said(down, full)))

    def test_what_comes_back_is_told_again(self) -> None:
        down = errors.DatabaseUnavailable(reason='down')
        said = self.said(down, None, None, down)
        self.assertEqual('The survey works again', said[1])
        self.assertEqual(3, len(said))

    def test_the_unexpected_is_told_with_its_traceback(self) -> None:
        said = self.said(ZeroDivisionError('a bug'))
        self.assertIn('Traceback', '\n'.join(said))


class CrowdTest(testtools.TestCase):
    """The survey warns of parents with many children."""

    def warnings(self, **flatten: int) -> list[str]:
        world = self.useFixture(service.Service(**flatten))
        log = self.useFixture(fixtures.FakeLogger(level=logging.WARNING))
        process = world.process()
        image_id = world.add_image()
        for _ in range(3):
            process.engine.create_disk(service.request(image_id))
        process.survey.look()
        process.survey.look()
        self.image = f'images/{image_id}@snap'
        return log.output.splitlines()

    def test_once_a_look_with_their_number(self) -> None:
        said = self.warnings(alert_children=2)
        self.assertEqual([f'Parent {self.image} has 3 children'] * 2, said)

    def test_not_of_as_many_as_allowed(self) -> None:
        self.assertEqual([], self.warnings(alert_children=3))

    def test_not_unless_asked_to(self) -> None:
        self.assertEqual([], self.warnings())
