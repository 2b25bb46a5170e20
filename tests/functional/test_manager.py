# SPDX-License-Identifier: Apache-2.0
"""rbdcloner-manager as a process: how it starts, works and ends."""

from concurrent import futures
import datetime
import os
import re
import signal
import subprocess
import sys
import time
from typing import Any
import urllib.request
import uuid

import psutil
import pytest
import testtools
from testtools import matchers

from rbdcloner.ceph import key_diagnosis
from rbdcloner.ceph import keyring
from rbdcloner.db import engine
from rbdcloner.db import migration
from rbdcloner.db.lineage import Lineage
from rbdcloner.model import Image
from rbdcloner.model import Protector
from rbdcloner.model import Snapshot
from rbdcloner.model import SnapshotFacts
from tests import stack
from tests.functional import service
from tests.functional.service import MIB
from tests.stack import manager
from tests.stack import ports
from tests.stack import process


class StartTest(testtools.TestCase):
    """What is wrong is said in a line each, and nothing is started."""

    def setUp(self) -> None:
        super().setUp()
        self.servers = stack.shared()
        self.url = self.servers.databases['sqlite'].create()

    def refusal(
        self, *, url: str = '', unsynced: bool = False, **options: Any
    ) -> str:
        """Start a manager that must refuse to; what it says."""
        one = manager.Manager(
            self.servers,
            url or self.url,
            name=f'refused-{os.getpid()}-{time.monotonic_ns()}',
            options=options,
            wait=False,
            sync=not unsynced,
        )
        one.setUp()
        self.addCleanup(one.cleanUp)
        daemon = one.daemons[one.name]
        process.wait_until(
            lambda: not daemon.running, 'the refusal', timeout_s=30
        )
        self.assertNotIn('Traceback', one.output)
        self.assertNotIn('Starting the workers', one.output)
        return one.output

    def test_database_without_a_schema(self) -> None:
        said = self.refusal(unsynced=True)
        self.assertIn('Run "rbdcloner-manage db sync".', said)

    def test_database_that_is_down(self) -> None:
        port = ports.claim()
        secret = 'hunter2'
        said = self.refusal(
            url=f'mysql+pymysql://root:{secret}@127.0.0.1:{port}/none',
            unsynced=True,
        )
        self.assertIn('[database] connection', said)
        self.assertNotIn(secret, said)

    def test_pool_that_is_missing(self) -> None:
        said = self.refusal(ceph={'disk_pools': 'nowhere'})
        self.assertIn('ceph osd pool create nowhere', said)

    def test_pool_that_is_not_initialised(self) -> None:
        self.servers.ceph.create_pool('raw', init=False)
        self.addCleanup(self.servers.ceph.delete_pool, 'raw')
        self.servers.ceph.user(
            'client.wide', mon='profile rbd', osd='profile rbd'
        )
        said = self.refusal(ceph={'disk_pools': 'vms,raw', 'user': 'wide'})
        self.assertIn('Run "rbd pool init raw".', said)

    def test_key_that_may_not_write_disks(self) -> None:
        self.servers.ceph.user(
            'client.timid',
            mon='profile rbd',
            osd='profile rbd-read-only pool=vms, profile rbd pool=images',
        )
        said = self.refusal(ceph={'user': 'timid'})
        self.assertIn('may not write vms', said)
        self.assertIn('profile rbd pool=vms', said)

    def test_key_that_ceph_does_not_know(self) -> None:
        self.servers.ceph.user('client.gone', mon='profile rbd')
        self.servers.ceph.mon_command('auth del', entity='client.gone')
        said = self.refusal(ceph={'user': 'gone', 'timeout': 3})
        self.assertIn('client.gone', said)
        self.assertNotIn('key =', said)

    def test_lineage_of_another_cluster(self) -> None:
        connected = engine.connect(self.url)
        migration.upgrade(connected)
        other = str(uuid.uuid4())
        image = Image(other, 'images', '', 'golden', '1234')
        facts = SnapshotFacts(
            Snapshot(image, 'snap', 7),
            size_bytes=MIB,
            order=22,
            protected=True,
            trashed=False,
            created_at=datetime.datetime.now(datetime.UTC),
        )
        Lineage(connected).adopt(facts, 'golden', Protector.OTHERS)
        connected.dispose()
        said = self.refusal()
        self.assertIn(f'the lineage of cluster {other}', said)
        self.assertIn('a database of its own', said)

    def test_ceph_that_is_down(self) -> None:
        self.servers.ceph.pause('mon')
        try:
            said = self.refusal(ceph={'timeout': 3})
        finally:
            self.servers.ceph.resume('mon')
        self.assertIn('Ceph', said)

    def test_option_that_is_nonsense(self) -> None:
        said = self.refusal(DEFAULT={'workers': 'many'})
        self.assertIn('many', said)

    def test_eventlet_is_not_imported(self) -> None:
        command = [sys.executable, '-X', 'importtime']
        command += ['-m', 'rbdcloner.cmd.manager', '--version']
        done = subprocess.run(
            command, capture_output=True, text=True, check=True
        )
        imported = {
            line.split('|')[-1].strip() for line in done.stderr.splitlines()
        }
        self.assertIn('oslo_messaging', imported)
        self.assertNotIn('eventlet.hubs', imported)
        self.assertNotEqual('', done.stdout.strip())

    def status(self, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run the checks of an administrator, on one line each."""
        one = manager.Manager(
            self.servers,
            self.url,
            name=f'status-{os.getpid()}-{time.monotonic_ns()}',
            options=options,
        )
        one.prepare()
        program = os.path.join(
            os.path.dirname(sys.executable), 'rbdcloner-status'
        )
        done = subprocess.run(
            [program, '--config-file', one.conf, 'upgrade', 'check'],
            capture_output=True,
            text=True,
            check=False,
        )
        done.stdout = ' '.join(done.stdout.replace('|', ' ').split())
        return done

    def test_key_of_a_type_that_librados_may_not_know(self) -> None:
        """The start and the check say the same of it, with the cure."""
        key = keyring.make(keyring.AES256K)
        path = self.servers.ceph.keyring('client.newer')
        path.write_text(f'[client.newer]\nkey = {key}\n')
        self.addCleanup(path.unlink)
        if key_diagnosis.reads(keyring.AES256K):
            what, cure = 'Ceph refuses the key of', 'ceph auth get'
        else:
            what, cure = 'librados cannot read the key of', 'ceph auth rotate'
        done = self.status(ceph={'user': 'newer'})
        self.assertEqual(2, done.returncode, done.stderr)
        for said in (done.stdout, self.refusal(ceph={'user': 'newer'})):
            self.assertIn(f'{what} client.newer', said)
            self.assertIn(f'{cure} client.newer', said)
            self.assertIn('aes256k', said)
            self.assertNotIn(key, said)

    def test_status_command_says_the_same(self) -> None:
        done = self.status(ceph={'disk_pools': 'nowhere'})
        self.assertEqual(2, done.returncode, done.stderr)
        self.assertIn('no pool nowhere', done.stdout)
        self.assertIn('Check: Database', done.stdout)

    def test_refused_credentials_of_rabbitmq_are_a_failure(self) -> None:
        port = self.servers.rabbitmq.settings['port']
        url = f'rabbit://nobody:secret@127.0.0.1:{port}/'
        done = self.status(DEFAULT={'transport_url': url})
        self.assertEqual(2, done.returncode, done.stdout)
        self.assertIn('Check: RabbitMQ Result: Failure', done.stdout)
        self.assertIn('Login was refused', done.stdout)
        self.assertIn('Check "transport_url" in [DEFAULT]', done.stdout)
        self.assertNotIn('secret', done.stdout + done.stderr)

    def test_what_imports_lack_is_a_warning(self) -> None:
        migration.upgrade(engine.connect(self.url))
        done = self.status(imports={'pool': 'bases'})
        self.assertEqual(1, done.returncode, done.stdout)
        self.assertIn('Check: Imports Result: Warning', done.stdout)
        self.assertIn('no pool bases: nothing is imported.', done.stdout)
        self.assertIn('ceph osd pool create bases', done.stdout)
        done = self.status()
        self.assertEqual(0, done.returncode, done.stdout)


@pytest.mark.smoke
class ProcessTest(service.ServiceTest):
    """A manager that runs."""

    metrics_port = 0

    @classmethod
    def setUpClass(cls) -> None:
        cls.metrics_port = ports.claim()
        cls.options = {'metrics': {'port': cls.metrics_port}}
        super().setUpClass()

    @property
    def daemon(self) -> process.Daemon:
        return self.manager.daemons[self.manager.name]

    def workers(self) -> list[psutil.Process]:
        found = re.findall(r'Worker (\d+) answers', self.manager.output)
        return [
            each
            for each in self.daemon.process.children(recursive=True)
            if str(each.pid) in found
        ]

    def test_sigterm_finishes_the_calls_in_flight(self) -> None:
        self.create()
        with futures.ThreadPoolExecutor(12) as pool:
            calls = [pool.submit(self.create) for _ in range(12)]
            seen = len(self.rows())
            process.wait_until(
                lambda: len(self.rows()) > seen, 'a call in flight'
            )
            self.daemon.stop(timeout_s=60)
            self.daemon.start()
            disks = [call.result() for call in calls]
        self.assertEqual({'ready'}, {disk['state'] for disk in disks})
        self.assertThat(
            {disk['uuid'] for disk in disks}, matchers.HasLength(12)
        )

    def test_worker_that_dies_is_replaced(self) -> None:
        victim = self.workers()[0]
        victim.kill()

        def replaced() -> bool:
            # The dead one is a child until the master has waited for it.
            pids = {each.pid for each in self.workers()}
            return len(pids - {victim.pid}) == 2

        process.wait_until(replaced, 'the new worker', timeout_s=30)
        self.assertEqual('ready', self.create()['state'])

    def test_report_is_written_on_sigusr2(self) -> None:
        self.workers()[0].send_signal(signal.SIGUSR2)
        process.wait_until(
            lambda: 'Guru Meditation' in self.manager.output, 'the report'
        )

    def test_each_worker_has_a_connection_to_ceph_of_its_own(self) -> None:
        self.create()
        for worker in self.workers():
            mon = self.servers.ceph.settings['mon_port']
            peers = [
                each.raddr.port
                for each in worker.net_connections()
                if each.raddr
            ]
            self.assertIn(mon, peers)
        self.assertThat(self.workers(), matchers.HasLength(2))

    def test_idle_worker_is_small(self) -> None:
        self.create()
        for worker in self.workers():
            held = worker.memory_full_info().uss
            self.assertThat(held, matchers.LessThan(120 * MIB))

    def test_counters_tell_methods_and_refusals(self) -> None:
        image = self.servers.glance.client().images.create(
            name='queued', disk_format='raw', container_format='bare'
        )
        self.create()
        try:
            self.create(image_id=image.id)
        except Exception as exc:
            self.assertEqual('ImageNotActive', type(exc).__name__)
        url = f'http://127.0.0.1:{self.metrics_port}/metrics'
        with urllib.request.urlopen(url, timeout=10) as answer:
            text = answer.read().decode()
        self.assertIn('method="create_disk",outcome="ok"', text)
        self.assertIn('outcome="ImageNotActive"', text)
