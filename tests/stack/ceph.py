# SPDX-License-Identifier: Apache-2.0
"""A one-node Ceph cluster: one mon, one mgr, one bluestore OSD on a file.

Keys are made here rather than asked of the mon, so that every daemon can be
prepared and started at the same time as the mon.

The cluster is ready without its mgr, which is started and not waited for:
only statistics, and the quotas that depend on them, need one.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from concurrent import futures
import contextlib
import json
import pathlib
import socket
import struct
import subprocess
from typing import Any
import uuid

from tests.stack import cephconf
from tests.stack import cephusers
from tests.stack import ports
from tests.stack import process
from tests.stack import server

GiB = 1 << 30
COMMAND_TIMEOUT_S = 60


class Ceph(server.Server):
    """A running cluster with initialised pools and the usual users.

    Users: ``client.admin``, ``client.glance`` (profile rbd on ``images``, and
    rbd-read-only on the others: an image may descend from a disk) and
    ``client.rbdcloner`` (profile rbd on every given pool). Daemons: ``mon``,
    ``mgr``, ``osd``.
    """

    name = 'ceph'

    def __init__(
        self,
        stack_folder: pathlib.Path | str,
        settings: Mapping[str, Any] | None = None,
        *,
        pools: tuple[str, ...] = ('images', 'vms'),
        osd_size_bytes: int = 10 * GiB,
    ) -> None:
        self._pools = pools
        self._osd_size_bytes = osd_size_bytes
        super().__init__(stack_folder, settings)

    def _choose(self) -> dict[str, Any]:
        return {'fsid': str(uuid.uuid4()), 'mon_port': ports.claim()}

    @property
    def fsid(self) -> str:
        """The cluster's id."""
        return str(self.settings['fsid'])

    @property
    def conf(self) -> pathlib.Path:
        """ceph.conf; it also names where the keyrings are."""
        return self.folder / 'ceph.conf'

    def keyring(self, name: str) -> pathlib.Path:
        """Where the keyring of a user (``client.glance``) is."""
        return self.folder / f'ceph.{name}.keyring'

    def _make_daemons(self) -> list[process.Daemon]:
        readiness = {
            'mon': ('a', self._mon_ready),
            'osd': ('0', self._osd_ready),
            'mgr': ('x', self._mgr_ready),
        }
        return [
            process.Daemon(
                kind,
                self.stack_folder,
                [f'ceph-{kind}', '-f', '-c', self.conf, '-i', letter],
                is_ready,
            )
            for kind, (letter, is_ready) in readiness.items()
        ]

    def _mon_ready(self) -> bool:
        return self._ask('mon.a', 'mon_status').get('state') == 'leader'

    def _osd_ready(self) -> bool:
        return self._ask('osd.0', 'status').get('state') == 'active'

    def _mgr_ready(self) -> bool:
        # The mon may still call the mgr's last incarnation the active one.
        if not self._ask('mgr.x', 'mgr_status').get('initialized'):
            return False
        return bool(self.mon_command('mgr dump')['available'])

    def _ask(self, entity: str, prefix: str) -> Any:
        """The daemon's own answer on its admin socket, or {} if none yet."""
        path = self.folder / 'run' / f'{entity}.asok'
        try:
            with socket.socket(socket.AF_UNIX) as asok:
                asok.settimeout(5)
                asok.connect(str(path))
                asok.sendall(json.dumps({'prefix': prefix}).encode() + b'\0')
                with asok.makefile('rb') as answer:
                    (length,) = struct.unpack('>I', answer.read(4))
                    return json.loads(answer.read(length))
        except (OSError, ValueError, struct.error):
            return {}

    # Set-up

    def _prepare(self) -> None:
        for name in ('mon', 'mgr', 'osd', 'run', 'crash'):
            (self.folder / name).mkdir()
        self.conf.write_text(
            cephconf.ceph_conf(
                self.folder,
                self.fsid,
                self.settings['mon_port'],
                self._osd_size_bytes,
            )
        )
        self._write_keyrings()
        with futures.ThreadPoolExecutor() as pool:
            steps = [self._mkfs_mon, self._mkfs_osd]
            for made in [pool.submit(step) for step in steps]:
                made.result()

    def _write_keyrings(self) -> None:
        sections = []
        for user in cephusers.users(self._pools):
            sections.append(user.keyring())
            self._write_keyring(user.name, user.keyring())
        self._write_keyring('seed', ''.join(sections))
        # The mon calls itself mon.a and holds the key of mon.
        self._write_keyring('mon.a', sections[0])

    def _write_keyring(self, name: str, text: str) -> pathlib.Path:
        path = self.keyring(name)
        path.touch(mode=0o600)
        path.write_text(text)
        return path

    def _mkfs_mon(self) -> None:
        # Given no monmap, the mon makes one that needs its own release.
        self._run(
            *('ceph-mon', '-c', self.conf, '--mkfs', '-i', 'a'),
            *('--keyring', self.keyring('seed')),
        )

    def _mkfs_osd(self) -> None:
        self._run(
            *('ceph-osd', '-f', '-c', self.conf, '--mkfs', '-i', '0'),
            *('--no-mon-config', '--osd-uuid', self.fsid),
        )

    def _bring_up(self) -> None:
        self.daemons['mon'].start()
        for name in ('osd', 'mgr'):
            self.daemons[name].start(wait=False)
        self.mon_command('osd new', uuid=self.fsid, id=0)
        # The modules that each mgr is meant to run are left out, as all are.
        self.mon_command('health mute', code='MGR_MODULE_ERROR', sticky=True)
        for pool in self._pools:
            self._make_pool(pool)
        self.daemons['osd'].wait_ready()
        for pool in self._pools:
            self._init_pool(pool)

    # Use

    def forget_lineage(self, pools: Sequence[str] = ()) -> None:
        """Let no pool belong to a lineage: a new database takes them all.

        Or of these *pools* none, as far as they are there.
        """
        import rados

        with self.connection() as connection:
            for pool in pools or connection.list_pools():
                with (
                    contextlib.suppress(rados.ObjectNotFound),
                    connection.open_ioctx(pool) as ioctx,
                ):
                    ioctx.remove_object('rbdcloner.lineage')

    @contextlib.contextmanager
    def connection(self, user: str = 'client.admin') -> Iterator[Any]:
        """A connected ``rados.Rados`` with bounded waits."""
        import rados  # a Debian module: only who uses Ceph needs it

        cluster = rados.Rados(
            name=user,
            conffile=str(self.conf),
            conf={
                'client_mount_timeout': '20',
                'rados_mon_op_timeout': '20',
                'rados_osd_op_timeout': '60',
            },
        )
        cluster.connect()
        try:
            yield cluster
        finally:
            cluster.shutdown()

    def mon_command(self, prefix: str, **arguments: Any) -> Any:
        """The mon's answer to a command by its JSON arguments, decoded.

        :raises StackError: with the mon's own words
        """
        request = {'prefix': prefix, 'format': 'json', **arguments}
        with self.connection() as cluster:
            code, out, said = cluster.mon_command(json.dumps(request), b'')
        if code:
            raise process.StackError(f'ceph {prefix}: {said} ({code})')
        return json.loads(out) if out.strip() else None

    def clients(self, user: str) -> list[str]:
        """The RADOS addresses that a user is connected from."""
        return sorted(
            f'{vector["addr"]}/{vector["nonce"]}'
            for one in self._ask('mon.a', 'sessions')
            if one['entity_name'] == user
            for vector in one['addrs']['addrvec']
        )

    def shut_out(self, address: str) -> None:
        """Have Ceph refuse whatever comes from a RADOS address."""
        self.mon_command('osd blocklist', blocklistop='add', addr=address)

    def peer_again(self) -> None:
        """Have the OSD's placement groups peer, as after its start.

        One that was paused for longer than its read lease answers no more,
        though it is up: a timer of its own is lost (Ceph's issue 80404).
        """
        self.mon_command('osd down', ids=['0'])

    def command(self, *arguments: object) -> Any:
        """What ``ceph -f json …`` prints, decoded (None for nothing).

        :raises StackError: when it fails, with what it printed
        """
        command = ['ceph', '-c', self.conf, '-f', 'json', *arguments]
        done = subprocess.run(
            [str(word) for word in command],
            capture_output=True,
            text=True,
            timeout=COMMAND_TIMEOUT_S,
        )
        if done.returncode:
            raise process.StackError(f'{done.args}: {done.stderr}')
        return json.loads(done.stdout) if done.stdout.strip() else None

    def user(self, name: str, **caps: str) -> pathlib.Path:
        """Make (or change) a user; write its keyring and return the path.

        ``user('client.reader', mon='profile rbd', osd='…')``
        """
        flat = [word for pair in caps.items() for word in pair]
        entity = {'entity': name}
        known = self.mon_command('auth ls')['auth_dump']
        exists = any(one['entity'] == name for one in known)
        prefix = 'auth caps' if exists else 'auth add'
        self.mon_command(prefix, caps=flat, **entity)
        key = self.mon_command('auth get-key', **entity)['key']
        text = cephusers.User(name, key, caps).keyring()
        return self._write_keyring(name, text)

    def create_pool(self, name: str, init: bool = True) -> None:
        """Make a replicated pool, for RBD if ``init``."""
        self._make_pool(name)
        if init:
            self._init_pool(name)

    def _make_pool(self, name: str) -> None:
        self.mon_command('osd pool create', pool=name, pg_num=8, pgp_num=8)

    def _init_pool(self, name: str) -> None:
        import rbd  # as for rados

        with self.connection() as cluster:
            cluster.wait_for_latest_osdmap()
            with cluster.open_ioctx(name) as ioctx:
                rbd.RBD().pool_init(ioctx, True)

    def delete_pool(self, name: str) -> None:
        """Destroy a pool and all it holds."""
        self.mon_command(
            'osd pool delete',
            pool=name,
            pool2=name,
            yes_i_really_really_mean_it=True,
        )

    def set_quota(self, pool: str, max_bytes: int = 0) -> None:
        """Let the pool hold so many bytes; 0 for no limit.

        The mon learns from the mgr what a pool holds.

        :raises StackError: the mgr does not come up
        """
        self.daemons['mgr'].wait_ready()
        self.mon_command(
            'osd pool set-quota',
            pool=pool,
            field='max_bytes',
            val=str(max_bytes),
        )
