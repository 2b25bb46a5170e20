# SPDX-License-Identifier: Apache-2.0
"""rbdcloner-manage in an administrator's hands, under clone format 1.

Glance refuses to delete an image that has children. The program that is
installed runs as its own process, with the managers' configuration file.
"""

import os
from typing import Any

from glanceclient import exc as glance_errors

from rbdcloner import rpcapi
from rbdcloner.model import CloneFormat
from tests.functional import administrator
from tests.functional import cloud
from tests.functional.administrator import DONE
from tests.functional.administrator import NOT_FOUND
from tests.functional.administrator import REFUSED
from tests.functional.administrator import Ran
from tests.functional.service import GOLDEN
from tests.functional.service import MIB
from tests.stack import process
from tests.stack import reading

_PATIENCE_S = 120

#: So slow that a program sees it go on.
MIB_PER_S = 2
SLOW_BYTES = 64 * MIB


class CommandsTest(cloud.CloudTest):
    clone_format = CloneFormat.V1
    database = 'mariadb'

    def run_program(self, *arguments: str) -> Ran:
        return administrator.run(self.manager.conf, *arguments)

    def listed(self, *arguments: str) -> list[dict[str, Any]]:
        """Return what a list has for programs."""
        ran = self.run_program(*arguments, '-f', 'json')
        self.assertEqual((DONE, ''), (ran.code, ran.err))
        return ran.rows

    def in_use(self, number: int = 2) -> tuple[str, list[rpcapi.Disk]]:
        """Return an image that Glance refuses to delete, and its disks."""
        image_id = self.upload()
        disks = [self.boot(image_id) for _ in range(number)]
        self.assertRaises(
            glance_errors.HTTPConflict, self.servers.glance.delete, image_id
        )
        return image_id, disks

    def assert_read(self, disks: list[rpcapi.Disk]) -> None:
        for disk in disks:
            self.assertEqual(GOLDEN, self.read(disk, 0, len(GOLDEN)))

    def parents(self, disks: list[rpcapi.Disk]) -> list[list[str]]:
        return [self.ancestors('vms', disk['name']) for disk in disks]


def names(disks: list[rpcapi.Disk]) -> list[str]:
    return [f'vms/{disk["name"]}' for disk in disks]


class ReleaseTest(CommandsTest):
    def test_who_needs_an_image_is_told(self) -> None:
        image_id, disks = self.in_use()
        ran = self.run_program('image', 'release', image_id)
        self.assertEqual(DONE, ran.code)
        for disk, name in zip(disks, names(disks), strict=True):
            self.assertIn(name, ran.out)
            self.assertIn(disk['instance_uuid'][:8], ran.out)
        self.assertIn(f'2 need Glance image {image_id}.', ran.err)
        self.assertIn('refuses to delete it: 2 are of clone format 1', ran.err)
        rows = self.listed('image', 'release', image_id)
        self.assertEqual(
            [disk['uuid'] for disk in disks], [row['uuid'] for row in rows]
        )
        self.assertEqual([1, 1], [row['clone_format'] for row in rows])

    def test_retired_image_is_deleted_in_glance_and_read_on(self) -> None:
        image_id, disks = self.in_use()
        ran = self.run_program('image', 'release', image_id, '--retire')
        self.assertEqual(DONE, ran.code, ran.err)
        self.assertIn(f'images/{image_id} is retired\n', ran.err)
        said = f'run "openstack image delete {image_id}" now.\n'
        self.assertTrue(ran.err.endswith(said), ran.err)
        self.assertNotIn(image_id, self.names('images'))
        self.assert_held(image_id, disks)
        self.servers.glance.delete(image_id)
        self.assert_read(disks)
        ran = self.run_program('image', 'release', image_id, '--retire')
        self.assertEqual(DONE, ran.code)
        self.assertIn('It is in the trash: if Glance still', ran.err)
        for disk in disks:
            self.delete(disk)
        self.assert_becomes([], lambda: self.listed('retired', 'list'))

    def assert_held(self, image_id: str, disks: list[rpcapi.Disk]) -> None:
        """Assert that the trash is said to hold one image, for *disks*."""
        self.assert_becomes([len(GOLDEN)], self.held_bytes)
        (row,) = self.listed('retired', 'list')
        self.assertEqual(
            (image_id, 'images', 'adopted', len(GOLDEN), image_id),
            tuple(
                row[name]
                for name in (
                    'name', 'pool', 'kind', 'size_bytes', 'glance_image_id',
                )
            ),
        )  # fmt: skip
        self.assertEqual(names(disks), row['needed_by'])
        shown = self.run_program('retired', 'list')
        self.assertIn(', '.join(names(disks)), shown.out)
        self.assertIn('| 4 MiB |', shown.out)
        self.assertEqual('In the trash: 1, holding 4 MiB\n', shown.err)

    def held_bytes(self) -> list[int]:
        return [row['held_bytes'] for row in self.listed('retired', 'list')]

    def test_restored_image_is_booted_from_again(self) -> None:
        image_id, disks = self.in_use()
        self.run_program('image', 'release', image_id, '--retire')
        ran = self.run_program('image', 'restore', image_id)
        self.assertEqual(DONE, ran.code, ran.err)
        self.assertEqual(
            [
                f'images/{image_id} is to be moved out of the trash.',
                f'images/{image_id} is ready',
            ],
            [line for line in ran.err.splitlines() if 'waits' not in line],
        )
        self.assertIn(image_id, self.names('images'))
        self.assertEqual([], self.listed('retired', 'list'))
        self.assert_read([*disks, self.boot(image_id)])
        again = self.run_program('image', 'restore', image_id)
        self.assertEqual(
            (REFUSED, f'images/{image_id} is ready, not in the trash.\n'),
            (again.code, again.err),
        )

    def test_what_nobody_heard_of_is_not_found(self) -> None:
        for command in (
            ('image', 'release', 'cirros'),
            ('image', 'release', 'cirros', '--retire'),
            ('image', 'release', 'cirros', '--flatten'),
            ('image', 'restore', 'cirros'),
            ('flatten', 'start', 'cirros'),
            ('flatten', 'cancel', '999999'),
        ):
            ran = self.run_program(*command)
            self.assertEqual(NOT_FOUND, ran.code, command)
            self.assertIn(command[2], ran.err)
            self.assertNotIn('Glance can delete it:', ran.err)
            self.assertNotIn('Traceback', ran.err)

    def test_database_that_is_not_there_is_told_in_a_line(self) -> None:
        text = self.manager.conf.read_text()
        conf = self.manager.folder / 'elsewhere.conf'
        self.addCleanup(conf.unlink)
        conf.touch(mode=0o600)
        nobody = 'mysql+pymysql://me:secret@127.0.0.1:1/lineage'
        conf.write_text(text.replace(self.database_url, nobody))
        for command in (
            ('image', 'release', 'any'),
            ('retired', 'list'),
        ):
            ran = administrator.run(conf, *command)
            self.assertEqual((REFUSED, ''), (ran.code, ran.out))
            self.assertEqual(1, ran.err.count('\n'), ran.err)
            self.assertIn('"connection" in [database]', ran.err)
            self.assertNotIn('secret', ran.err)


class FlattenTest(CommandsTest):
    extra = {'flatten': {'mib_per_s': MIB_PER_S}}  # noqa: RUF012

    def test_flattened_disks_let_glance_delete_their_image(self) -> None:
        image_id, disks = self.in_use()
        ran = self.run_program('image', 'release', image_id, '--flatten')
        self.assertEqual(DONE, ran.code, ran.err)
        first, *_, last, then = ran.err.splitlines()
        self.assertEqual('2 are to be flattened.', first)
        self.assertEqual('2 of 2 flattened', last)
        self.assertEqual(
            'Nothing needs it any more: '
            f'run "openstack image delete {image_id}" now.',
            then,
        )
        self.assertEqual([[], []], self.parents(disks))
        self.servers.glance.delete(image_id)
        self.assert_read(disks)
        again = self.run_program('flatten', 'start', disks[0]['name'])
        self.assertEqual((REFUSED, ''), (again.code, again.out))
        self.assertIn('there is nothing to flatten', again.err)

    def test_waiting_is_told_on_a_terminal_and_may_end_early(self) -> None:
        image_id, disk = self.slow()
        ran = administrator.run_on_terminal(
            self.manager.conf,
            *('image', 'release', image_id, '--flatten', '--timeout', '15'),
        )
        self.assertEqual(REFUSED, ran.code)
        self.assertIn(disk['name'], ran.out)
        shown = ran.err
        self.assertRegex(shown, rf'0 of 1 flattened; vms/{disk["name"]} \d+ %')
        self.assertIn('Not done within 15 s (0 of 1 flattened', shown)
        self.assertIn('The managers go on with it.', shown)
        (row,) = self.listed('flatten', 'list')
        self.assertEqual(('release', 'running'), (row['why'], row['state']))

    def slow(self) -> tuple[str, rpcapi.Disk]:
        """Return an image and its disk, which is not soon flattened."""
        data = os.urandom(MIB) * (SLOW_BYTES // MIB)
        image_id = str(self.servers.glance.upload('slow', data).id)
        self.images.append(image_id)
        return image_id, self.boot(image_id, size_bytes=SLOW_BYTES)

    def test_flatten_is_started_watched_and_cancelled(self) -> None:
        image_id, disk = self.slow()
        ran = self.run_program('flatten', 'start', disk['name'])
        self.assertEqual((DONE, ''), (ran.code, ran.err))
        self.assertIn(f'of vms/{disk["name"]} is wanted.', ran.out)
        row = self.running()
        self.assertEqual(('asked', disk['uuid']), (row['why'], row['uuid']))
        shown = self.run_program('flatten', 'list').out
        self.assertRegex(
            shown, rf'{disk["name"]} \| asked \| running \| \d+ %'
        )
        for _ in range(2):
            ran = self.run_program('flatten', 'cancel', str(row['id']))
            self.assertEqual((DONE, ''), (ran.code, ran.err))
            self.assertTrue(ran.out.endswith('is cancelled.\n'), ran.out)
        self.assert_stopped(image_id, disk)

    def running(self) -> dict[str, Any]:
        """Return the flatten as it is listed, when it has come some way."""
        found: list[dict[str, Any]] = []

        def look() -> bool:
            found[:] = self.listed('flatten', 'list')
            return any(0 < row['percent'] < 100 for row in found)

        process.wait_until(look, 'progress', _PATIENCE_S)
        (row,) = found
        self.assertEqual('running', row['state'])
        self.assertTrue(row['run_by'])
        return row

    def assert_stopped(self, image_id: str, disk: rpcapi.Disk) -> None:
        """Assert that nobody copies any more, and that nothing is lost."""
        ran = self.run_program('flatten', 'list')
        self.assertEqual(
            'Nothing is being flattened, nor waits for it.\n', ran.err
        )
        # Whoever copies has the disk open.
        self.assert_becomes([], lambda: self.watchers(disk))
        self.assertEqual([[f'images/{image_id}']], self.parents([disk]))
        (user,) = self.listed('image', 'release', image_id)
        self.assertEqual(disk['uuid'], user['uuid'])
        (over,) = self.listed('flatten', 'list', '--all')
        self.assertEqual('cancelled', over['state'])
        self.assertLess(over['percent'], 100)
        self.assertEqual('an administrator cancelled it', over['reason'])

    def watchers(self, disk: rpcapi.Disk) -> list[Any]:
        with (
            self.pool() as ioctx,
            reading.opened(ioctx, disk['name']) as image,
        ):
            return list(image.watchers_list())
