# SPDX-License-Identifier: Apache-2.0
"""What an administrator does with the key of a user."""

import json
import os
import subprocess

from tests.stack import ceph
from tests.stack import cephusers
from tests.stack import process

#: Those of the service's key, for the pools that a stack has.
CAPS = {
    'mon': 'profile rbd',
    'osd': 'profile rbd pool=vms, profile rbd pool=images',
}


def generate(user: str) -> str:
    """Return a keyring with a new key, of the type that this Ceph makes."""
    made = subprocess.run(
        ['ceph-authtool', '--gen-print-key'],
        capture_output=True,
        text=True,
        check=True,
    )
    return cephusers.User(user, made.stdout.strip(), CAPS).keyring()


def tell(cluster: ceph.Ceph, keyring: str) -> None:
    """Have Ceph know this key of a user from now on, and no other."""
    with cluster.connection() as connected:
        code, _, said = connected.mon_command(
            json.dumps({'prefix': 'auth import'}), keyring.encode()
        )
    if code:
        raise process.StackError(f'auth import: {said} ({code})')


def write(cluster: ceph.Ceph, user: str, keyring: str) -> None:
    """Put a keyring in its place, all of it at once."""
    path = cluster.keyring(user)
    new = path.with_name(f'{path.name}.new')
    new.touch(mode=0o600)
    new.write_text(keyring)
    os.replace(new, path)
