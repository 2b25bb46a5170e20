# SPDX-License-Identifier: Apache-2.0
"""Why librados, or the cluster, does not take a user's key.

librados tells no more than an error number, and another one in each release:
so the key is looked at here, and librados is asked which types it reads.
"""

import errno
import functools
import os

import rados

from rbdcloner import errors
from rbdcloner.ceph import keyring

#: librados' answers when it has no key, or one that it cannot read.
UNREAD = frozenset({errno.EINVAL, errno.EIO, errno.EISDIR, errno.ENOENT})
#: The cluster's answers to a key that it does not take.
REFUSED = frozenset({errno.EACCES, errno.EPERM})

#: Nothing listens there: librados reads the key, or refuses it, before that.
_PROBE = {
    'auth_client_required': 'cephx',
    'client_mount_timeout': '1',
    'err_to_stderr': 'false',
    'log_to_stderr': 'false',
    'mon_host': '127.0.0.1:1',
}


def explain(
    option: keyring.Option, client: str, number: int
) -> errors.CephAuthentication | None:
    """Return why *client* cannot connect; None if its key is not the cause.

    *number* is librados' error, one of UNREAD or REFUSED.
    """
    try:
        ring = keyring.find(option, client)
        if ring.foreign and number in UNREAD:
            return _foreign(client, ring.where)
        kind = ring.type_of(client)
    except errors.CephAuthentication as exc:
        return exc
    if number in REFUSED:
        return _refused(client, ring.where, kind)
    return _unread(client, ring, kind) or _unknown(client, ring, number)


@functools.cache
def reads(kind: int) -> bool:
    """Tell whether the installed librados reads keys of that type.

    Takes a second where it does; each type is asked about once.
    """
    settings = _PROBE | {'key': keyring.make(kind)}
    # Without a file librados writes errors, with the key, before it obeys.
    cluster = rados.Rados(
        name='client.probe', conffile=os.devnull, conf=settings
    )
    try:
        cluster.connect()
    except rados.TimedOut:
        return True
    except rados.Error:
        return False
    finally:
        cluster.shutdown()
    return True


def _foreign(client: str, where: str) -> errors.CephAuthentication:
    return errors.CephAuthentication(
        client=client,
        problem=f'librados cannot read {where}: it has lines that are neither '
        'a "key" nor "caps", such as a "pending key"',
        remedy='Remove these lines from it',
    )


def _refused(client: str, where: str, kind: int) -> errors.CephAuthentication:
    remedy = keyring.cure(client, where)
    if kind == keyring.AES:
        remedy += (
            '; if that is the same key, the cluster takes none of type aes '
            '(auth_allowed_ciphers in "ceph mon dump")'
        )
    return errors.CephAuthentication(
        client=client,
        problem=f'Ceph refuses the key of {client} in {where} '
        f'(type {_name(kind)})',
        remedy=remedy,
    )


def _unread(
    client: str, ring: keyring.Keyring, kind: int
) -> errors.CephAuthentication | None:
    if not reads(kind):
        return errors.CephAuthentication(
            client=client,
            problem='The installed librados cannot read the key of '
            f'{client} in {ring.where}: its type is {_name(kind)}',
            remedy=_cure_of_type(client, ring.where, kind),
        )
    for other in ring.keys:
        try:
            if reads(ring.type_of(other)):
                continue
        except errors.CephAuthentication:
            # Damaged: librados refuses the file for it, too.
            pass
        return errors.CephAuthentication(
            client=client,
            problem=f'The installed librados cannot read {ring.where}, for '
            f'the key of {other} in it',
            remedy=f'Leave only the section [{client}] in it',
        )
    return None


def _unknown(
    client: str, ring: keyring.Keyring, number: int
) -> errors.CephAuthentication | None:
    if number not in (errno.EINVAL, errno.EIO):
        # No address of a mon, for instance.
        return None
    return errors.CephAuthentication(
        client=client,
        problem=f'The installed librados cannot read {ring.where}',
        remedy=keyring.cure(client, ring.where),
    )


def _cure_of_type(client: str, where: str, kind: int) -> str:
    if kind != keyring.AES256K:
        return keyring.cure(client, where)
    return (
        'Install librados of Ceph 20.2.4 or 19.2.6, or later; or give it a '
        'key of type aes, by "ceph mon set auth_allowed_ciphers aes,aes256k" '
        f'and "ceph auth rotate {client} --key_type aes"'
    )


def _name(kind: int) -> str:
    return keyring.TYPES.get(kind, f'{kind}, which is not known')
