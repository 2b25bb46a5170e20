# SPDX-License-Identifier: Apache-2.0
"""When systemd is told that the service is ready; and the unit's file."""

import configparser
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import uuid

from oslo_config import cfg
from oslo_service import service as oslo_service
import pytest

from rbdcloner.cmd import systemd

UNIT = pathlib.Path('etc/systemd/rbdcloner-manager.service')


@pytest.fixture(params=['file', 'abstract'])
def ears(request, tmp_path, monkeypatch):
    """A socket as systemd has it, by a path or without one."""
    address = f'{tmp_path}/notify'
    if request.param == 'abstract':
        address = f'@rbdcloner-{uuid.uuid4()}'
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ears:
        ears.bind(address.replace('@', '\0'))
        ears.settimeout(10)
        monkeypatch.setenv('NOTIFY_SOCKET', address)
        yield ears


def hear(ears):
    return ears.recv(1024).decode().splitlines()[0]


def heard_nothing(ears):
    ears.setblocking(False)
    try:
        ears.recv(1024)
    except BlockingIOError:
        return True
    finally:
        ears.settimeout(10)
    return False


def test_ready_is_when_all_workers_answer(ears):
    supervisor = systemd.Supervisor(3)
    supervisor.watch()
    supervisor.answers()
    supervisor.answers()
    assert heard_nothing(ears)
    supervisor.answers()
    assert hear(ears) == 'READY=1'


def test_ready_again_is_when_all_were_replaced(ears):
    supervisor = systemd.Supervisor(2)
    supervisor.watch()
    for _ in range(2):
        supervisor.answers()
    assert hear(ears) == 'READY=1'
    supervisor.reloading()
    assert hear(ears) == 'RELOADING=1'
    for _ in range(2):
        supervisor.answers()
    assert hear(ears) == 'READY=1'
    supervisor.answers()
    supervisor.stopping()
    assert hear(ears) == 'STOPPING=1'


def test_the_launcher_does_not_find_the_socket(ears):
    """It would say READY=1 before there is a worker."""
    systemd.Supervisor(1)
    assert 'NOTIFY_SOCKET' not in os.environ


def test_without_systemd_nobody_is_told(monkeypatch):
    monkeypatch.delenv('NOTIFY_SOCKET', raising=False)
    supervisor = systemd.Supervisor(1)
    supervisor.watch()
    supervisor.answers()
    supervisor.reloading()
    supervisor.stopping()


def test_a_socket_that_is_gone_stops_nobody(ears, caplog):
    supervisor = systemd.Supervisor(1)
    ears.close()
    supervisor.stopping()
    assert 'systemd is not told STOPPING=1' in caplog.text


def unit():
    parser = configparser.RawConfigParser(strict=False)
    parser.optionxform = str
    parser.read(UNIT)
    return parser


def test_the_unit_gives_workers_the_time_to_finish():
    conf = cfg.ConfigOpts()
    for group, options in oslo_service.list_opts():
        conf.register_opts(options, group)
    conf([])
    service = unit()['Service']
    assert int(service['TimeoutStopSec']) > conf.graceful_shutdown_timeout
    assert service['KillMode'] == 'mixed'
    assert service['Type'] == 'notify'
    assert service['ExecReload'].endswith('-HUP $MAINPID')


def test_systemd_understands_the_unit(tmp_path):
    """It is asked where it is installed."""
    program = unit()['Service']['ExecStart'].split()[0]
    text = UNIT.read_text()
    assert text.count(program) == 1
    verifier = shutil.which('systemd-analyze')
    if verifier is None:
        return
    copy = tmp_path / UNIT.name
    copy.write_text(text.replace(program, sys.executable))
    done = subprocess.run(
        [verifier, 'verify', '--man=no', copy],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, '')
