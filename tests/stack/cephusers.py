# SPDX-License-Identifier: Apache-2.0
"""The users of a cluster: their keys, and what each may do."""

from __future__ import annotations

import dataclasses
import subprocess


@dataclasses.dataclass(frozen=True)
class User:
    """A Ceph entity, its key and what it may do."""

    name: str
    key: str
    caps: dict[str, str]

    def keyring(self) -> str:
        """The entity's section of a keyring file."""
        lines = [f'[{self.name}]', f'\tkey = {self.key}']
        lines += [f'\tcaps {who} = "{cap}"' for who, cap in self.caps.items()]
        return '\n'.join(lines) + '\n'


def new_key() -> str:
    """A fresh key, of the type that the installed Ceph makes by itself."""
    done = subprocess.run(
        ['ceph-authtool', '--gen-print-key'],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def _rbd_caps(*pools: str, reads: tuple[str, ...] = ()) -> dict[str, str]:
    profiles = ', '.join(
        [f'profile rbd pool={pool}' for pool in pools]
        + [f'profile rbd-read-only pool={pool}' for pool in reads]
    )
    return {'mon': 'profile rbd', 'osd': profiles, 'mgr': profiles}


def users(pools: tuple[str, ...]) -> list[User]:
    """Those of a new cluster, daemons too; the mon's is the first."""
    everything = {'mon': 'allow *', 'osd': 'allow *', 'mgr': 'allow *'}
    osd = {who: 'allow profile osd' for who in ('mon', 'mgr')}
    mgr = {'mon': 'allow profile mgr', 'osd': 'allow *', 'mds': 'allow *'}
    disk_pools = tuple(pool for pool in pools if pool != 'images')
    rights = [
        ('mon.', {'mon': 'allow *'}),
        ('mgr.x', mgr),
        ('osd.0', {**osd, 'osd': 'allow *'}),
        ('client.admin', everything),
        ('client.glance', _rbd_caps('images', reads=disk_pools)),
        ('client.rbdcloner', _rbd_caps(*pools)),
    ]
    return [User(name, new_key(), caps) for name, caps in rights]
