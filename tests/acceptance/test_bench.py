# SPDX-License-Identifier: Apache-2.0
"""The benchmark measures every figure, and nothing outlives it."""

from __future__ import annotations

import json
import os
import pathlib
import signal
import subprocess
import sys

import pytest
import testtools

from tests.bench import catalogue
from tests.bench import scale
from tests.demo import scratch

ROOT = pathlib.Path(__file__).parents[2]
BENCH = (sys.executable, '-m', 'tests.bench')
TIMEOUT_S = 600
FIGURES = {
    one.name: one
    # Without --nova: the end-to-end suite has the OpenStack that it needs.
    for one in catalogue.chosen([], scale.QUICK, has_nova=False)
}


@pytest.mark.timeout(TIMEOUT_S)
class BenchTest(testtools.TestCase):
    """Each test runs a benchmark on servers of its own."""

    def test_quick_run_prints_every_figure(self) -> None:
        before = folders()
        done = self.run_bench('--quick')
        self.assertEqual(0, done.returncode, done.stderr)
        rows = [json.loads(line) for line in done.stdout.splitlines()]
        found = {row['figure']: row for row in rows}
        self.assertEqual(list(FIGURES), list(found))
        for name, row in found.items():
            self.assertGreater(row['value'], 0, row)
            self.assertGreater(row['n'], 0, row)
            self.assertTrue(row['unit'], row)
            against = FIGURES[name].against
            self.assertEqual(against or None, row.get('against'), row)
            if against:
                ratio = row['value'] / found[against]['value']
                self.assertAlmostEqual(ratio, row['ratio'], delta=0.01)
            reach = FIGURES[name].reach
            self.assertEqual([str(one) for one in reach], row.get('reach', []))
            if reach:
                reached = all(one.is_reached(row) for one in reach)
                self.assertEqual(reached, row['reached'], row)
            self.assertIn(name, done.stderr)
        self.assertEqual(before, folders())

    def test_only_measures_what_a_figure_needs(self) -> None:
        done = self.run_bench('--quick', '--only', 'create_disk_p95_ms')
        self.assertEqual(0, done.returncode, done.stderr)
        rows = [json.loads(line) for line in done.stdout.splitlines()]
        self.assertEqual(
            ['librbd_create_p95_ms', 'create_disk_p95_ms'],
            [row['figure'] for row in rows],
        )

    def test_task_measures_all_its_figures(self) -> None:
        done = self.run_bench('--quick', '--only', 'delete,snapshot')
        self.assertEqual(0, done.returncode, done.stderr)
        rows = [json.loads(line) for line in done.stdout.splitlines()]
        self.assertEqual(
            [
                name
                for name, one in FIGURES.items()
                if one.task in ('delete', 'snapshot')
            ],
            [row['figure'] for row in rows],
        )

    def test_names_tell_the_numbers_that_were_measured(self) -> None:
        for sizes in (scale.QUICK, scale.FULL):
            names = {one.name for one in catalogue.figures(sizes)}
            for count in sizes.pools:
                self.assertIn(f'delete_disk_pool_{count}_p50_ms', names)
            for count in sizes.children:
                self.assertIn(f'children_query_{count}_p50_ms', names)

    def test_figures_of_nova_without_nova_are_refused(self) -> None:
        for name in ('nova_create_p50_ms', 'plugin_on_boots_8_s', 'nova'):
            done = self.run_bench('--only', name)
            self.assertEqual(2, done.returncode)
            self.assertIn('needs --nova', done.stderr)

    def test_nova_is_measured_by_its_own_code_and_with_the_plugin(
        self,
    ) -> None:
        found = catalogue.chosen([], scale.FULL, has_nova=True)
        reaches = {
            one.name: [str(each) for each in one.reach] for one in found
        }
        for name, reach in (
            ('nova_create_p50_ms', []),
            ('plugin_on_create_p50_ms', ['ratio <= 0.5']),
            ('plugin_on_snapshot_p50_ms', ['ratio <= 0.1']),
            ('plugin_on_delete_p50_ms', ['ratio <= 0.5']),
            ('plugin_on_boots_8_s', []),
        ):
            self.assertEqual(reach, reaches.get(name), name)
        for one in found:
            if one.who == 'on':
                against = one.name.replace('plugin_on', 'plugin_off')
                self.assertEqual(against, one.against)

    def test_import_is_measured_against_hosts_and_against_raw(self) -> None:
        found = {one.name: one for one in catalogue.figures(scale.FULL)}
        for name, against, reach in (
            ('import_first_disk_s', 'host_first_disk_s', []),
            (
                'import_next_disk_p50_ms',
                'import_raw_disk_p50_ms',
                ['ratio <= 1.2'],
            ),
            ('import_worker_peak_mib', '', ['value <= 150']),
        ):
            self.assertEqual(against, found[name].against)
            self.assertEqual(reach, [str(one) for one in found[name].reach])

    def test_unknown_figure_is_refused(self) -> None:
        done = self.run_bench('--only', 'delete,nonsense')
        self.assertEqual(2, done.returncode)
        self.assertIn('nonsense', done.stderr)

    def test_interrupt_ends_everything(self) -> None:
        self.interrupt(b'ceph: ready')

    def test_interrupt_ends_many_threads_at_work_in_ceph(self) -> None:
        # Sixteen threads clone from then on.
        self.interrupt(b'50 children', '--only', 'children')

    def interrupt(self, at: bytes, *arguments: str) -> None:
        """Interrupt a run, twice, when it has said this."""
        before = folders()
        with subprocess.Popen(
            (*BENCH, '--quick', *arguments), cwd=ROOT, stderr=subprocess.PIPE
        ) as bench:
            self.addCleanup(bench.kill)
            assert bench.stderr is not None
            while at not in (line := bench.stderr.readline()):
                self.assertNotEqual(b'', line)
            (made,) = folders() - before
            folder = scratch.Scratch(made)
            self.addCleanup(folder.end)
            bench.send_signal(signal.SIGINT)
            bench.send_signal(signal.SIGINT)
            _, said = bench.communicate(timeout=TIMEOUT_S)
        self.assertEqual(130, bench.returncode, said)
        self.assertEqual([], folder.processes())
        self.assertFalse(made.exists())

    @staticmethod
    def run_bench(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            (*BENCH, *arguments),
            cwd=ROOT,
            env=os.environ,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
        )


def folders() -> set[pathlib.Path]:
    """The folders of benchmarks that run, or left something."""
    return set(pathlib.Path('/tmp').glob('rbdcloner-bench-*'))
