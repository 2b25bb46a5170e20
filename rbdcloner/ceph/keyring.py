# SPDX-License-Identifier: Apache-2.0
"""The key that Ceph's configuration names for a user, read as librados does.

librados takes it from the option ``key``, else from the file ``keyfile``,
else from the first file of ``keyring`` that opens, and of that file it reads
every key (``KeyRing::from_ceph_context``, Ceph's ``src/auth/KeyRing.cc``). A
key is base64 of its type, the time when it was made, the length of its secret
and the secret (``CryptoKey::decode``, ``src/auth/Crypto.cc``).
"""

import base64
from collections.abc import Callable
from collections.abc import Mapping
import configparser
import dataclasses
import hashlib
import os
import pathlib
import pwd
import re
import struct
import time

from rbdcloner import errors

#: Numbers of key types, and their names.
AES, AES256K = 1, 2
TYPES = {AES: 'aes', AES256K: 'aes256k'}

_HEADER = struct.Struct('<hiih')
#: Bytes of a secret, by the type's number.
_SECRET_BYTES = {AES: 16, AES256K: 32}
#: What librados takes in a section, before the equals sign.
_KNOWN_LINE = re.compile(r'key|auid|caps\s+\S+')
#: What stands between the files of the option ``keyring``.
_SEPARATORS = re.compile(r'[;,=\s]+')

#: Returns an option of Ceph's configuration, as ``Rados.conf_get``.
Option = Callable[[str], str]


@dataclasses.dataclass(frozen=True, slots=True)
class Keyring:
    """The keys of one file or option, in base64, by user; none is shown.

    *foreign* is whether the file has other lines than ``key`` and ``caps``.
    """

    where: str
    keys: Mapping[str, str] = dataclasses.field(repr=False)
    foreign: bool = False

    def type_of(self, client: str) -> int:
        """Return the number of the type of the key of *client*.

        :raises CephAuthentication: there is no such key, or not all of it.
        """
        if client not in self.keys:
            problem = f'{self.where} has no key of {client}'
        elif not self.keys[client]:
            problem = f'The key of {client} in {self.where} is empty'
        else:
            try:
                return _type_of(self.keys[client])
            except ValueError:
                problem = f'The key of {client} in {self.where} is damaged'
        raise errors.CephAuthentication(
            client=client, problem=problem, remedy=cure(client, self.where)
        )


def find(option: Option, client: str) -> Keyring:
    """Return the keys that librados reads for *client*.

    :raises CephAuthentication: there are none, or they cannot be read.
    """
    if key := option('key'):
        return Keyring('the option "key" of Ceph', {client: key})
    if path := option('keyfile'):
        return Keyring(path, {client: _read(path, client).strip()})
    path = _first(_SEPARATORS.split(option('keyring').strip()), client)
    return _parse(_read(path, client), path, client)


def digest(option: Option, client: str) -> str:
    """Return what tells the key of *client* from another; '' for none."""
    try:
        key = find(option, client).keys.get(client, '')
    except errors.CephAuthentication:
        return ''
    return key and hashlib.sha256(key.encode()).hexdigest()


def make(kind: int) -> str:
    """Return a key of that type that nobody has."""
    secret = os.urandom(_SECRET_BYTES.get(kind, 32))
    header = _HEADER.pack(kind, int(time.time()), 0, len(secret))
    return base64.b64encode(header + secret).decode()


def cure(client: str, where: str) -> str:
    """Return what puts the key that Ceph has into the keyring."""
    return f'Write what "ceph auth get {client}" prints to {where}'


def _first(paths: list[str], client: str) -> str:
    """Return the first of *paths* that this process may open."""
    refused = []
    for path in filter(None, paths):
        try:
            os.close(os.open(path, os.O_RDONLY))
        except PermissionError:
            refused.append(path)
        except OSError:
            continue
        else:
            return path
    if refused:
        raise _unreadable(refused[0], client)
    raise errors.CephAuthentication(
        client=client,
        problem=f'There is no keyring for {client} '
        f'({", ".join(filter(None, paths)) or "none is configured"})',
        remedy=cure(client, paths[0] or 'a file that "keyring" names'),
    )


def _read(path: str, client: str) -> str:
    try:
        return pathlib.Path(path).read_text(errors='replace')
    except PermissionError:
        raise _unreadable(path, client) from None
    except OSError as exc:
        raise errors.CephAuthentication(
            client=client,
            problem=f'The keyring {path} for {client} cannot be read: '
            f'{exc.strerror}',
            remedy=cure(client, path),
        ) from exc


def _unreadable(path: str, client: str) -> errors.CephAuthentication:
    try:
        user = pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        user = str(os.geteuid())
    return errors.CephAuthentication(
        client=client,
        problem=f'User {user} may not read the keyring {path} for {client}',
        remedy=f'Let {user} read it, as by "chgrp GROUP {path}" and '
        f'"chmod 640 {path}" with a group of that user',
    )


def _parse(text: str, path: str, client: str) -> Keyring:
    parser = configparser.ConfigParser(
        delimiters=('=',),
        inline_comment_prefixes=('#', ';'),
        default_section='',
        interpolation=None,
        strict=False,
        allow_no_value=True,
    )
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    try:
        # Ceph indents as it likes; to configparser that is a continuation.
        parser.read_string('\n'.join(map(str.strip, text.splitlines())))
    except configparser.Error as exc:
        raise errors.CephAuthentication(
            client=client,
            problem=f'{path} is not a keyring of Ceph',
            remedy=cure(client, path),
        ) from exc
    users = {name: parser[name] for name in parser.sections()}
    return Keyring(
        path,
        {
            name: (lines.get('key') or '').strip('"')
            for name, lines in users.items()
        },
        any(
            not _KNOWN_LINE.fullmatch(line)
            for lines in users.values()
            for line in lines
        ),
    )


def _type_of(key: str) -> int:
    raw = base64.b64decode(key, validate=True)
    if len(raw) < _HEADER.size:
        raise ValueError('shorter than the header of a key')
    number, _, _, length = _HEADER.unpack_from(raw)
    needed = max(length, _SECRET_BYTES.get(number, 0))
    if len(raw) - _HEADER.size < needed:
        raise ValueError('shorter than its secret')
    return int(number)
