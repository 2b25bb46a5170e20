# SPDX-License-Identifier: Apache-2.0
"""rbdcloner-manager itself, on the servers of a stack."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
import contextlib
import os
import pathlib
import sys
from typing import Any

from oslo_config import cfg
from oslo_context import context
import sqlalchemy

from rbdcloner import conf as options
from rbdcloner import rpcapi
from rbdcloner.db import engine
from rbdcloner.db import migration
from tests.stack import process
from tests.stack import server
from tests.stack import stack


class Manager(server.Server):
    """A running rbdcloner-manager; its only daemon has its name.

    ``options`` adds or overrides options by section, as in
    ``{'ceph': {'clone_format': 1}}``. ``wait=False`` starts it without
    waiting for its workers to answer, ``sync=False`` leaves the database as
    it is. ``program`` is a command that takes its arguments, ``env`` what
    that finds in its environment besides.
    """

    def __init__(
        self,
        servers: stack.Stack,
        database_url: str,
        *,
        name: str = 'manager',
        options: Mapping[str, Mapping[str, object]] | None = None,
        wait: bool = True,
        sync: bool = True,
        program: Sequence[object] = (),
        env: Mapping[str, str] | None = None,
    ) -> None:
        assert servers.folder is not None
        self.name = name
        self._servers = servers
        self._database_url = database_url
        self._options = options or {}
        self._wait_ready = wait
        self._sync = sync
        # A test in Nova's environment has other packages than the service.
        python = pathlib.Path(os.environ.get('PYTHON', sys.executable))
        self._program = program or (python.with_name('rbdcloner-manager'),)
        self._env = env or {}
        super().__init__(servers.folder)

    @property
    def conf(self) -> pathlib.Path:
        """The configuration file; it holds passwords."""
        return self.folder / 'rbdcloner.conf'

    @property
    def output(self) -> str:
        """What the manager has written so far."""
        return self.daemons[self.name].log.read_text()

    def client(self, timeout_s: float = 60) -> rpcapi.API:
        """Return a client of this cloud's managers, closed in the end."""
        api = rpcapi.API.from_conf(self.load_conf(), timeout_s=timeout_s)
        self.addCleanup(api.close)
        return api

    def load_conf(self) -> cfg.ConfigOpts:
        """Return the process's options, read from this manager's file.

        oslo.messaging knows ``cfg.CONF`` alone, so there is one at a time.
        """
        cfg.CONF.clear()
        options.register(cfg.CONF)
        options.load(cfg.CONF, [], [str(self.conf)])
        return cfg.CONF

    def configure(self, options: Mapping[str, Mapping[str, object]]) -> None:
        """Write the file with *options* in the place of those given."""
        self._options = options
        self._prepare()

    def start(self, name: str | None = None) -> None:
        for daemon in self._chosen(name):
            daemon.start(wait=self._wait_ready)

    def _make_daemons(self) -> list[process.Daemon]:
        return [
            process.Daemon(
                self.name,
                self.stack_folder,
                [*self._program, '--config-file', self.conf],
                self._answers,
                env={'TMPDIR': str(self.folder), **self._env},
            )
        ]

    def _answers(self) -> bool:
        workers = int(self._all_options()['DEFAULT']['workers'])
        running = self.daemons[self.name].process
        # Not what the process before this one has written.
        line = f'{running and running.pid} INFO rbdcloner.cmd.serving'
        _, started, after = self.output.rpartition(f'{line} [-] Starting the')
        return bool(started) and after.count('answers on') >= workers

    def _prepare(self) -> None:
        self.conf.touch(mode=0o600)
        self.conf.write_text(
            '\n'.join(
                f'[{section}]\n'
                + ''.join(
                    # oslo.config would put an option's value for $NAME.
                    f'{key} = {str(values[key]).replace("$", "$$")}\n'
                    for key in values
                )
                for section, values in self._all_options().items()
            )
        )
        if self._sync:
            connected = engine.connect(self._database_url)
            migration.upgrade(connected)
            connected.dispose()
        if self._is_new():
            import rados  # a Debian module: only a test with Ceph needs it

            # A Ceph that is down belongs to nobody.
            with contextlib.suppress(rados.TimedOut):
                self._servers.ceph.forget_lineage(self._disk_pools())

    def _disk_pools(self) -> list[str]:
        """Return the pools that the options name, if they name any."""
        named = self._all_options()['ceph'].get('disk_pools', '')
        return [pool for pool in str(named).split(',') if pool]

    def _is_new(self) -> bool:
        """Tell whether the database has never had a manager.

        What was on the cluster before belonged to another one.
        """
        connected = sqlalchemy.create_engine(self._database_url)
        marked = sqlalchemy.text('SELECT count(*) FROM marked_pools')
        try:
            with connected.connect() as connection:
                return not connection.scalar(marked)
        except sqlalchemy.exc.SQLAlchemyError:
            # It has no schema yet, or an older one; or it is not there.
            return True
        finally:
            connected.dispose()

    def _all_options(self) -> dict[str, dict[str, Any]]:
        cluster = self._servers.ceph
        values: dict[str, dict[str, Any]] = {
            'DEFAULT': {
                'host': self.name,
                'workers': 2,
                'transport_url': self._servers.rabbitmq.url,
            },
            'database': {'connection': self._database_url},
            'ceph': {'conf': cluster.conf, 'user': 'rbdcloner'},
            'imports': {'scratch_dir': self.folder / 'scratch'},
            # Most tests are about what comes back, not about how late.
            'safety': {'absence_delay': 0},
        }
        if 'glance' in self._servers.servers:
            url = self._servers.glance.url
            values['glance'] = {
                'auth_type': 'none',
                'endpoint': url,
                'endpoint_override': url,
            }
        for section, overrides in self._options.items():
            values.setdefault(section, {}).update(overrides)
        return values


def caller(project_id: str = '') -> context.RequestContext:
    """Return the context of a request by *project_id*."""
    return context.RequestContext(project_id=project_id or None)
