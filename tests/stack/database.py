# SPDX-License-Identifier: Apache-2.0
"""Database servers that hand out empty databases, by engine."""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import os
import pathlib
import pwd
import secrets
from typing import Any

import sqlalchemy

from tests.stack import ports
from tests.stack import process
from tests.stack import server

#: The user that owns every database; the service's own is made by tests.
ADMIN = 'stack'


class Database(server.Server):
    """A place where fresh databases are made."""

    def create(self) -> str:
        """The SQLAlchemy URL of a new, empty database."""
        raise NotImplementedError

    def close_all_connections(self) -> None:
        """Make the server drop every client's connection."""
        raise NotImplementedError

    def _choose(self) -> dict[str, Any]:
        return {'port': ports.claim(), 'password': secrets.token_hex(16)}

    def _new_name(self) -> str:
        return f'rbdcloner_{secrets.token_hex(6)}'

    def _url(self, driver: str, user: str, database: str) -> str:
        password, port = self.settings['password'], self.settings['port']
        return f'{driver}://{user}:{password}@127.0.0.1:{port}/{database}'

    @staticmethod
    @contextlib.contextmanager
    def _connected(url: str) -> Iterator[sqlalchemy.Connection]:
        engine = sqlalchemy.create_engine(
            url,
            isolation_level='AUTOCOMMIT',
            poolclass=sqlalchemy.pool.NullPool,
        )
        with engine.connect() as connection:
            yield connection

    def _execute(self, url: str, *statements: str) -> None:
        with self._connected(url) as connection:
            for statement in statements:
                connection.exec_driver_sql(statement)

    def _answers(self, url: str) -> bool:
        try:
            self._execute(url, 'SELECT 1')
        except sqlalchemy.exc.OperationalError:
            return False
        return True


class SQLite(Database):
    """Files; there is no daemon."""

    name = 'sqlite'

    def _choose(self) -> dict[str, Any]:
        return {'engine': 'sqlite'}

    def create(self) -> str:
        """The URL of a file that does not exist yet."""
        return f'sqlite:///{self.folder}/{self._new_name()}.sqlite'


class MariaDB(Database):
    """A MariaDB server that trades durability for speed."""

    name = 'mariadb'

    def _make_daemons(self) -> list[process.Daemon]:
        command = [
            'mariadbd',
            '--no-defaults',
            *self._own(),
            f'--socket={self.folder}/socket',
            f'--pid-file={self.folder}/pid',
            f'--init-file={self.folder}/init.sql',
            f'--port={self.settings["port"]}',
            '--bind-address=127.0.0.1',
            '--max-connections=400',
            '--innodb-flush-log-at-trx-commit=2',
            '--innodb-buffer-pool-size=64M',
            '--performance-schema=OFF',
            '--character-set-server=utf8mb3',
        ]
        return [
            process.Daemon(self.name, self.stack_folder, command, self._ready)
        ]

    def _own(self) -> list[str]:
        """Return what is no other server's.

        One that starts removes whatever it takes for an old temporary table
        of its own: in /tmp, one of another server that runs.
        """
        user = ['--user=root'] if os.geteuid() == 0 else []
        folder = self.folder
        return [*user, f'--datadir={folder}/data', f'--tmpdir={folder}/tmp']

    def _admin_url(self, database: str = '') -> str:
        return self._url('mysql+pymysql', ADMIN, database)

    def _ready(self) -> bool:
        return self._answers(self._admin_url())

    def _prepare(self) -> None:
        (self.folder / 'tmp').mkdir(exist_ok=True)
        init = self.folder / 'init.sql'
        init.touch(mode=0o600)
        init.write_text(
            f"CREATE OR REPLACE USER {ADMIN}@'127.0.0.1' IDENTIFIED BY "
            f"'{self.settings['password']}';\n"
            f"GRANT ALL ON *.* TO {ADMIN}@'127.0.0.1' WITH GRANT OPTION;\n"
        )
        self._run(
            *('mariadb-install-db', '--no-defaults', '--skip-test-db'),
            *(
                '--skip-name-resolve',
                '--auth-root-authentication-method=socket',
            ),
            *self._own(),
        )

    def create(self) -> str:
        """The URL of a new database on this server."""
        name = self._new_name()
        self._execute(self._admin_url(), f'CREATE DATABASE {name}')
        return self._admin_url(name)

    def close_all_connections(self) -> None:
        with self._connected(self._admin_url()) as connection:
            numbers = connection.exec_driver_sql(
                'SELECT id FROM information_schema.processlist '
                'WHERE user = %s AND id <> CONNECTION_ID()',
                (ADMIN,),
            )
            for number in numbers.scalars().all():
                # It may have ended by itself.
                with contextlib.suppress(sqlalchemy.exc.DBAPIError):
                    connection.exec_driver_sql(f'KILL {number}')


class PostgreSQL(Database):
    """A PostgreSQL server that trades durability for speed.

    What was committed survives its processes, not the machine.

    PostgreSQL refuses to run as root: then Debian's ``postgres`` user runs it.
    """

    name = 'postgresql'

    def _user(self) -> str | None:
        return 'postgres' if os.geteuid() == 0 else None

    @staticmethod
    def _programs() -> pathlib.Path:
        versions = pathlib.Path('/usr/lib/postgresql').glob('*/bin')
        return max(versions, key=lambda path: int(path.parent.name))

    def _make_daemons(self) -> list[process.Daemon]:
        settings = {
            'listen_addresses': '127.0.0.1',
            'port': self.settings['port'],
            'unix_socket_directories': '',
            'max_connections': 400,
            'fsync': 'off',
            'shared_buffers': '64MB',
        }
        command: list[object] = [
            *(self._programs() / 'postgres', '-D', self.folder / 'data'),
            *(f'--{key}={value}' for key, value in settings.items()),
        ]
        return [
            process.Daemon(
                self.name,
                self.stack_folder,
                command,
                self._ready,
                user=self._user(),
            )
        ]

    def _admin_url(self, database: str = 'postgres') -> str:
        return self._url('postgresql+psycopg2', ADMIN, database)

    def _ready(self) -> bool:
        return self._answers(self._admin_url())

    def _prepare(self) -> None:
        password = self.folder / 'password'
        password.touch(mode=0o600)
        password.write_text(self.settings['password'])
        user = self._user()
        if user is not None:
            identity = pwd.getpwnam(user)
            for path in (self.folder, password):
                os.chown(path, identity.pw_uid, identity.pw_gid)
        self._run(
            *(self._programs() / 'initdb', '-D', self.folder / 'data'),
            *('-U', ADMIN, '--pwfile', password, '--no-sync'),
            *('-A', 'scram-sha-256', '-E', 'UTF8', '--locale=C.UTF-8'),
            user=user,
        )

    def create(self) -> str:
        """The URL of a new database on this server."""
        name = self._new_name()
        self._execute(self._admin_url(), f'CREATE DATABASE {name}')
        return self._admin_url(name)

    def close_all_connections(self) -> None:
        self._execute(
            self._admin_url(),
            'SELECT pg_terminate_backend(pid) FROM pg_stat_activity '
            "WHERE backend_type = 'client backend' "
            'AND pid <> pg_backend_pid()',
        )


ENGINES: dict[str, type[Database]] = {
    engine.name: engine for engine in (SQLite, MariaDB, PostgreSQL)
}
