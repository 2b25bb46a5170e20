# SPDX-License-Identifier: Apache-2.0
"""Keyrings that the installed librados cannot use, each told in one line.

librados looks at the key before it looks for the cluster, so there is none.
"""

import errno
import subprocess
import sys

import pytest

from rbdcloner import errors
from rbdcloner.ceph import key_diagnosis
from rbdcloner.ceph import keyring
from rbdcloner.ceph.librbd import LibrbdDriver

CLIENT = 'client.rbdcloner'
AES = keyring.make(keyring.AES)
AES256K = keyring.make(keyring.AES256K)
UNKNOWN = keyring.make(9)
#: No mon is there.
NOBODY = '127.0.0.1:1'


def section(key, client=CLIENT):
    return f'[{client}]\n\tkey = {key}\n\tcaps mon = "profile rbd"\n'


@pytest.fixture
def conf(tmp_path):
    """A ceph.conf that would have librados write its errors to stderr."""
    path = tmp_path / 'ceph.conf'
    path.write_text(
        f'[global]\nmon host = {NOBODY}\nauth client required = cephx\n'
        f'keyring = {tmp_path}/missing,{tmp_path}/keyring\n'
        'log to stderr = true\nerr to stderr = true\n'
    )
    return path


@pytest.fixture
def path(tmp_path):
    return tmp_path / 'keyring'


def option(path, **others):
    """Return what answers for options, as a connection to Ceph does."""
    known = {'keyring': str(path), **others}
    return lambda name: known.get(name, '')


def refusal(conf, error=errors.CephAuthentication):
    driver = LibrbdDriver(str(conf), CLIENT, timeout_s=1)
    with pytest.raises(error) as caught:
        driver.connect()
    assert type(caught.value) is error
    return str(caught.value)


_UNUSABLE = {
    'nothing in it': ('', '{path} has no key of client.rbdcloner'),
    'the key of another user': (
        section(AES, 'client.nova'),
        '{path} has no key of client.rbdcloner',
    ),
    'an empty key': (
        section(''),
        'The key of client.rbdcloner in {path} is empty',
    ),
    'a section without a key': (
        f'[{CLIENT}]\n',
        'The key of client.rbdcloner in {path} is empty',
    ),
    'no base64': (
        section('!'),
        'The key of client.rbdcloner in {path} is damaged',
    ),
    'a part of a key': (
        section(AES[:24]),
        'The key of client.rbdcloner in {path} is damaged',
    ),
    'a part of a longer key': (
        section(AES256K[:40]),
        'The key of client.rbdcloner in {path} is damaged',
    ),
    'no section': ('key = x\n', '{path} is not a keyring of Ceph'),
    'other data': ('\x00\x01', '{path} is not a keyring of Ceph'),
    'an unknown type': (
        section(UNKNOWN),
        'The installed librados cannot read the key of client.rbdcloner in '
        '{path}: its type is 9, which is not known',
    ),
}


@pytest.mark.parametrize('content', _UNUSABLE)
def test_unusable_keyring_is_described(path, content):
    text, said = _UNUSABLE[content]
    path.write_text(text)
    cure = f'Write what "ceph auth get {CLIENT}" prints to {path}'
    found = key_diagnosis.explain(option(path), CLIENT, errno.EIO)
    assert str(found) == f'{said.format(path=path)}. {cure}.'


@pytest.mark.parametrize(
    'key', ['!', AES[:24], UNKNOWN], ids=['no base64', 'a part', 'unknown']
)
def test_connecting_tells_what_is_wrong(conf, path, key):
    path.write_text(section(key))
    said = refusal(conf)
    assert f'the key of {CLIENT} in {path}' in said.replace('The', 'the')
    assert key not in said


def test_type_that_librados_cannot_read_is_named_with_both_cures(conf, path):
    path.write_text(section(AES256K))
    if key_diagnosis.reads(keyring.AES256K):
        # Nothing is wrong with it: the cluster is not there.
        refusal(conf, errors.CephUnavailable)
        return
    assert refusal(conf) == (
        f'The installed librados cannot read the key of {CLIENT} in {path}: '
        'its type is aes256k. Install librados of Ceph 20.2.4 or 19.2.6, or '
        'later; or give it a key of type aes, by "ceph mon set '
        'auth_allowed_ciphers aes,aes256k" and "ceph auth rotate '
        f'{CLIENT} --key_type aes".'
    )


def test_key_of_another_user_that_cannot_be_read_is_named(conf, path):
    path.write_text(section(AES) + section(UNKNOWN, 'client.admin'))
    assert refusal(conf) == (
        f'The installed librados cannot read {path}, for the key of '
        f'client.admin in it. Leave only the section [{CLIENT}] in it.'
    )


def test_missing_keyring_is_named_with_where_it_was_looked_for(conf, path):
    assert refusal(conf) == (
        f'There is no keyring for {CLIENT} ({path.parent}/missing, {path}). '
        f'Write what "ceph auth get {CLIENT}" prints to '
        f'{path.parent}/missing.'
    )


@pytest.mark.parametrize('line', ['pending key', 'KEY'])
def test_line_that_librados_does_not_know_is_a_cause(conf, path, line):
    path.write_text(section(AES) + f'\t{line} = {AES256K}\n')
    said = refusal(conf)
    assert said.startswith(f'librados cannot read {path}: it has lines that')
    assert AES256K not in said


def test_comments_are_no_lines_of_their_own(conf, path):
    path.write_text(f'# {CLIENT}\n; \n' + section(f'{AES} ; made today'))
    refusal(conf, errors.CephUnavailable)
    ring = keyring.find(option(path), CLIENT)
    assert not ring.foreign
    assert ring.keys == {CLIENT: AES}


def test_folder_in_the_place_of_a_keyring_is_named(conf, path):
    path.mkdir()
    said = refusal(conf)
    assert f'The keyring {path} for {CLIENT} cannot be read: Is a ' in said


def test_keyring_that_the_user_may_not_read_is_named(path):
    path.write_text(section(AES))
    path.chmod(0)
    # In a process of its own: root may read whatever there is.
    done = subprocess.run(
        [sys.executable, '-c', _AS_NOBODY, path],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == (
        f'User nobody may not read the keyring {path} for {CLIENT}. Let '
        f'nobody read it, as by "chgrp GROUP {path}" and "chmod 640 {path}" '
        'with a group of that user.'
    )


_AS_NOBODY = f"""
import errno, os, pwd, sys
from rbdcloner.ceph import key_diagnosis
os.setgroups([])
os.seteuid(pwd.getpwnam('nobody').pw_uid)
option = {{'keyring': sys.argv[1]}}
print(key_diagnosis.explain(
    lambda name: option.get(name, ''), '{CLIENT}', errno.EACCES
))
"""


def test_good_key_is_not_blamed_for_a_missing_address(conf, path):
    path.write_text(section(AES))
    conf.write_text(conf.read_text().replace(f'mon host = {NOBODY}', ''))
    refusal(conf, errors.CephRefused)


def test_key_of_the_configuration_comes_before_files(path):
    path.write_text(section(AES))
    ring = keyring.find(option(path, key=UNKNOWN), CLIENT)
    assert (ring.where, ring.type_of(CLIENT)) == (
        'the option "key" of Ceph',
        9,
    )
    path.write_text(f'{AES256K}\n')
    ring = keyring.find(option('/nowhere', keyfile=str(path)), CLIENT)
    assert ring.type_of(CLIENT) == keyring.AES256K


def test_no_key_is_shown(conf, path, capfd):
    path.write_text(section(UNKNOWN))
    refusal(conf)
    assert UNKNOWN not in repr(keyring.find(option(path), CLIENT))
    written = capfd.readouterr()
    assert written.err == written.out == ''


def test_digest_tells_keys_apart_and_shows_none(path):
    digests = set()
    for key in (AES, AES256K, ''):
        path.write_text(section(key))
        digests.add(keyring.digest(option(path), CLIENT))
        assert key not in digests or not key
    path.unlink()
    assert len(digests) == 3
    assert keyring.digest(option(path), CLIENT) == ''
