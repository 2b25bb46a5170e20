# SPDX-License-Identifier: Apache-2.0
"""The hosts of Ceph, RabbitMQ and the databases, as their documents' blocks
find them.

The blocks name no host, port or administrator's password, since on a host of
each server there is no need; here the environment has them.
"""

from __future__ import annotations

import pathlib

from tests import stack
from tests.install import shell
from tests.stack import database
from tests.stack import rabbitmq


def values(servers: stack.Stack, engine: str) -> dict[str, object]:
    """Return the values of the cloud: where its servers are."""
    drivers = {
        'mysql': ('mariadb', 'mysql+pymysql'),
        'postgresql': ('postgresql', 'postgresql+psycopg2'),
    }
    name, driver = drivers[engine]
    return {
        'DATABASE': engine,
        'DATABASE_DRIVER': driver,
        'DATABASE_HOST': '127.0.0.1',
        'DATABASE_PORT': servers.databases[name].settings['port'],
        'RABBITMQ_HOST': '127.0.0.1',
        'RABBITMQ_PORT': servers.rabbitmq.settings['port'],
    }


def host(servers: stack.Stack, home: pathlib.Path) -> shell.Shell:
    """Return a shell where the administrators' commands reach the servers.

    Its /root is *home*, and nobody else's.
    """
    mariadb = servers.databases['mariadb'].settings
    (home / '.my.cnf').write_text(
        f'[client]\nhost = 127.0.0.1\nport = {mariadb["port"]}\n'
        f'user = {database.ADMIN}\npassword = {mariadb["password"]}\n'
    )
    postgresql = servers.databases['postgresql'].settings
    env = shell.environment(
        CEPH_CONF=str(servers.ceph.conf),
        PGHOST='127.0.0.1',
        PGPORT=str(postgresql['port']),
        PGUSER=database.ADMIN,
        PGPASSWORD=postgresql['password'],
        PGDATABASE='postgres',
    )
    env['PATH'] = f'{rabbitmq.PROGRAMS}:{env["PATH"]}'
    ctl = servers.rabbitmq.environment()
    # rabbitmqctl alone needs it to be where its cookie is.
    del ctl['HOME']
    wrapper = ['unshare', '--mount', 'sh', '-c']
    wrapper += [f'mount --bind {home} /root && cd /root && exec "$@"', 'sh']
    (home / '.erlang.cookie').write_text(servers.rabbitmq.settings['cookie'])
    (home / '.erlang.cookie').chmod(0o400)
    return shell.Shell(wrapper, env | ctl)
