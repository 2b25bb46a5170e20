# SPDX-License-Identifier: Apache-2.0
"""Images of any format: imported once by real managers, cloned by everyone."""

from concurrent import futures
import contextlib
import hashlib
import itertools
import os
import pathlib
import tempfile
from typing import Any
from typing import ClassVar

from glanceclient import exc as glance_errors
import psutil
import rbd

from rbdcloner import errors
from rbdcloner import rpcapi
from tests.functional import service
from tests.stack import manager
from tests.stack import process
from tests.unit.images import specimens

MIB = 2**20
EAGER = {'recovery_interval': 1, 'survey_interval': 1}
VICTIM = '/etc/passwd'
_PATIENCE_S = 120

_names = itertools.count(1)


class BasesTest(service.ServiceTest):
    """Managers, a folder of images, and the images that a test uploads."""

    options: ClassVar[dict[str, dict[str, object]]] = {'DEFAULT': EAGER}
    client_timeout_s = 240

    def setUp(self) -> None:
        super().setUp()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.source = self.folder / 'disk'
        self.data = specimens.disk(self.source, partitioned=True)

    def upload(self, path: pathlib.Path, disk_format: str) -> str:
        """Return an image that goes with the test; its base goes then.

        By its location: this Glance inspects what is uploaded, others do not.
        """
        data = path.read_bytes()
        images = self.servers.glance.client().images
        image_id = images.create(
            name='any',
            disk_format=disk_format,
            container_format='bare',
            visibility='public',
        ).id
        self.addCleanup(self.delete_image, image_id)
        with self.pool('images') as ioctx:
            rbd.RBD().create(ioctx, image_id, len(data))
            with rbd.Image(ioctx, image_id) as image:
                image.write(data, 0)
                image.create_snap('snap')
                image.protect_snap('snap')
        fsid = self.servers.ceph.fsid
        self.servers.glance.add_location(
            image_id,
            f'rbd://{fsid}/images/{image_id}/snap',
            os_hash_algo='sha512',
            os_hash_value=hashlib.sha512(data).hexdigest(),
        )
        return str(image_id)

    def delete_image(self, image_id: str) -> None:
        with contextlib.suppress(glance_errors.HTTPNotFound):
            self.servers.glance.delete(image_id)

    def image(self, name: str) -> str:
        """Return an image of the source in one of the formats."""
        return self.upload(self.converted(name), specimens.said(name))

    def converted(self, name: str) -> pathlib.Path:
        """Return a file of the source in one of the formats."""
        return specimens.converted(self.source, name, self.folder / name)

    def create(self, image_id: str, **changes: Any) -> rpcapi.Disk:
        """Make a disk; what it is of is imported."""
        return super().create(image_id=image_id, import_='allowed', **changes)

    def bases(
        self, image_id: str, columns: str = 'state, attempts'
    ) -> list[tuple[Any, ...]]:
        """Return what is recorded of an image's imports, by age."""
        where = f"glance_image_id = '{image_id}' ORDER BY id"
        return self.select(f'SELECT {columns} FROM bases WHERE {where}')  # noqa: S608

    def assert_is_of(self, data: bytes, disk: rpcapi.Disk) -> None:
        """Assert that the disk begins with these data, and has no more."""
        self.assertEqual(data, self.read(disk, 0, len(data)))
        more = disk['size_bytes'] - len(data)
        self.assertEqual(bytes(more), self.read(disk, len(data), more))


class FormatsTest(BasesTest):
    def test_disk_has_what_the_image_has_in_every_format(self) -> None:
        for name in specimens.FORMATS:
            image_id = self.image(name)
            first, second = self.create(image_id), self.create(image_id)
            self.assert_is_of(self.data, first)
            self.assert_is_of(self.data, second)
            self.assertEqual(first['parent'], second['parent'])
            self.assertEqual([('ready', 0)], self.bases(image_id))

    def test_disk_has_what_an_iso_has(self) -> None:
        path = specimens.iso(self.folder)
        disk = self.create(self.upload(path, 'iso'))
        self.assert_is_of(path.read_bytes(), disk)

    def test_disk_has_what_a_vhd_of_another_maker_has(self) -> None:
        data = os.urandom(MIB).ljust(63 * MIB, b'\0') + os.urandom(MIB)
        self.source.write_bytes(data)
        path = self.converted('vhd-forced')
        specimens.rewritten_vhd(path, b'vbox')
        image_id = self.upload(path, 'vhd')
        disk = self.create(image_id, size_bytes=65 * MIB)
        self.assertEqual(64 * MIB, disk['parent']['size_bytes'])
        self.assert_is_of(data, disk)

    def test_disk_has_the_tail_of_a_qcow2_of_an_odd_size(self) -> None:
        path = self.converted('qcow2')
        size_bytes = len(self.data) - 200
        specimens.patched(path, 24, size_bytes.to_bytes(8, 'big'))
        disk = self.create(self.upload(path, 'qcow2'))
        self.assertEqual(
            self.data[:size_bytes], self.read(disk, 0, size_bytes)
        )

    def test_who_does_not_allow_it_gets_no_import(self) -> None:
        image_id = self.image('qcow2')
        self.assertRaises(
            errors.ImageNotCloneable,
            *(self.api.create_disk, self.ctxt),
            **self.asked(image_id=image_id),
        )
        self.assertEqual([], self.bases(image_id))

    def test_manager_tells_what_would_become_of_an_image(self) -> None:
        image_id = self.image('qcow2')
        told = self.api.is_cloneable(self.ctxt, image_id)
        self.assertEqual(
            {'way': 'convert', 'reason': '', 'base': None}, told['import']
        )
        self.create(image_id)
        told = self.api.is_cloneable(self.ctxt, image_id)
        self.assertEqual('ready', told['import']['base'])

    def test_base_goes_when_glance_has_its_image_no_more(self) -> None:
        image_id = self.image('qcow2')
        disk = self.create(image_id)
        self.servers.glance.delete(image_id)
        self.assert_is_of(self.data, disk)
        self.api.delete_disk(self.ctxt, disk['name'], 'vms')
        self.assert_becomes([('dropped', 0)], lambda: self.bases(image_id))


class RefusalsTest(BasesTest):
    def test_what_would_open_other_files_is_refused(self) -> None:
        sound = specimens.converted(self.source, 'vmdk', self.folder / 'sound')
        make = {
            'flat': lambda path: specimens.flat_vmdk(path, VICTIM),
            'two-faced': lambda path: specimens.two_faced_vmdk(path, VICTIM),
            'elsewhere': lambda path: specimens.extent_elsewhere(sound, path),
            'parent': lambda path: specimens.with_parent(sound, path, VICTIM),
        }
        for name, made in make.items():
            self.assert_refused(made(self.folder / name), 'vmdk')
        backed = specimens.with_backing_file(self.folder / 'backed', VICTIM)
        for said in ('qcow2', 'raw'):
            self.assert_refused(backed, said)
        beside = specimens.with_data_file(self.folder / 'a.qcow2', VICTIM)
        self.assert_refused(beside, 'qcow2')
        self.assert_refused(specimens.luks(self.folder / 'luks'), 'raw')
        secret = specimens.encrypted(self.folder / 'encrypted')
        self.assert_refused(secret, 'qcow2')

    def test_feature_that_is_not_supported_is_refused_by_name(self) -> None:
        vhd = self.converted('vhd')
        specimens.rewritten_vhd(vhd, b'win ', kind=4)
        text = self.converted('vmdk').read_bytes()
        (self.folder / 'vmdk').write_bytes(text.replace(b'# Di', b'# D\xef'))
        extended = self.folder / 'extended'
        options = 'extended_l2=on,cluster_size=128k'
        specimens.qemu_img(
            'create', '-f', 'qcow2', '-o', options, extended, MIB
        )
        for path, said, feature in (
            (vhd, 'vhd', 'differencing'),
            (self.folder / 'vmdk', 'vmdk', 'ASCII'),
            (extended, 'qcow2', 'extended L2'),
            (specimens.with_vhdx_log(self.vhdx('log')), 'vhdx', 'log'),
            (
                specimens.with_vhdx_item(self.vhdx('4k'), 'sector', 0, 4096),
                'vhdx',
                'sectors of 4096 bytes',
            ),
        ):
            told = self.assert_refused(path, said)
            self.assertIn('FeatureUnsupported', told)
            self.assertIn(feature, told)

    def vhdx(self, name: str) -> pathlib.Path:
        path = self.folder / name
        return specimens.converted(self.source, 'vhdx', path)

    def test_bomb_is_refused(self) -> None:
        path = self.folder / 'bomb'
        specimens.qemu_img('create', '-f', 'qcow2', path, '9000G')
        self.assert_refused(path, 'qcow2')

    def test_packed_image_is_refused(self) -> None:
        path = self.folder / 'packed'
        path.write_bytes(specimens.PACKERS['gzip'](self.data, self.folder))
        self.assert_refused(path, 'qcow2')

    def assert_refused(self, path: pathlib.Path, disk_format: str) -> str:
        """Assert that an image is refused, and what is left of it: nothing.

        Return what its caller is told. A raw one that Glance has in this
        cluster is cloned, as it is: there nobody opens it but the guest.
        """
        if disk_format == 'raw':
            return ''
        image_id = self.upload(path, disk_format)
        refused = self.assertRaises(
            errors.ImportRefused, self.create, image_id
        )
        self.assertIn(': ', str(refused))
        self.assertNotIn(str(self.manager.folder), str(refused))
        self.assertNotIn('.image', str(refused))
        self.assertEqual('refused', self.bases(image_id)[-1][0])
        self.assert_becomes(self.before, self.in_ceph)
        scratch = self.manager.folder / 'scratch'
        self.assertEqual(['lock'], [one.name for one in scratch.iterdir()])
        return str(refused)


class ManyTest(BasesTest):
    database = 'mariadb'
    client_timeout_s = 60
    #: Slow enough to be met in the middle.
    options: ClassVar[dict[str, dict[str, object]]] = {
        'DEFAULT': EAGER,
        'imports': {'mib_per_s': 4},
    }

    def setUp(self) -> None:
        super().setUp()
        self.second = self.useFixture(
            manager.Manager(
                self.servers,
                self.database_url,
                name=f'second-{next(_names)}',
                options=self.options,
                sync=False,
            )
        )

    def test_fifty_at_once_get_one_import(self) -> None:
        image_id = self.image('qcow2')
        access = self.servers.glance.access_log
        before = access.stat().st_size
        with futures.ThreadPoolExecutor(50) as threads:
            disks = list(
                threads.map(lambda _: self.create(image_id), range(50))
            )
        self.assertEqual(1, len({disk['parent']['id'] for disk in disks}))
        self.assertEqual([('ready', 0)], self.bases(image_id))
        made = self.rows(f"kind = 'base' AND glance_image_id = '{image_id}'")
        self.assertEqual(['ready'], [state for _name, state in made])
        with access.open() as log:
            log.seek(before)
            asked = log.read().count(f'GET /v2/images/{image_id}/file')
        self.assertEqual(1, asked)
        self.assert_is_of(self.data, disks[-1])

    def test_import_is_taken_over_from_who_was_killed(self) -> None:
        image_id = self.image('qcow2')
        with futures.ThreadPoolExecutor(1) as thread:
            asked = thread.submit(self.create, image_id)
            process.wait_until(
                lambda: self.running(image_id), 'an import', _PATIENCE_S
            )
            self.kill(self.running(image_id))
            disk = asked.result(_PATIENCE_S)
        self.addCleanup(self.manager.start)
        self.assert_is_of(self.data, disk)
        self.assertEqual('ready', self.bases(image_id)[-1][0])

    def running(self, image_id: str) -> int:
        """Return the process that imports the image, 0 if none does."""
        for state, done_bytes, owner in self.bases(
            image_id, 'state, done_bytes, owner'
        ):
            if state == 'running' and done_bytes:
                return int(owner.split(':')[1])
        return 0

    def kill(self, pid: int) -> None:
        """Kill the whole manager that has that process."""
        for one in (self.manager, self.second):
            master = one.daemons[one.name].process
            assert master is not None
            if pid in [each.pid for each in master.children(recursive=True)]:
                one.kill()
                return
        raise psutil.NoSuchProcess(pid)
