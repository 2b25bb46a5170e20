# SPDX-License-Identifier: Apache-2.0
"""The processes of rbdcloner-manager: workers, and one for the counters.

Whatever holds a connection is made in the worker, after the fork: librados
does not survive one.
"""

from collections.abc import Sequence
import logging
import multiprocessing
import os
import signal
import sys
import threading

from oslo_config import cfg
from oslo_log import log
from oslo_reports import guru_meditation_report
from oslo_service import service
import prometheus_client
from prometheus_client import multiprocess

import rbdcloner
from rbdcloner import admission
from rbdcloner import conf as options
from rbdcloner import dispatch
from rbdcloner import errors
from rbdcloner import rpc
from rbdcloner.cmd import chores
from rbdcloner.cmd import compose
from rbdcloner.cmd import console
from rbdcloner.cmd import preflight
from rbdcloner.cmd import presence
from rbdcloner.cmd import reloading
from rbdcloner.cmd import systemd

LOG = logging.getLogger(__name__)

_PROGRAM = 'rbdcloner-manager'

#: Who is to end waits so long for the end of its start.
_BEGINS_WITHIN_S = 5.0


class Worker(service.ServiceBase):
    """One process: a connection to Ceph, a thread pool, a share of calls."""

    def __init__(
        self, conf: cfg.ConfigOpts, supervisor: systemd.Supervisor
    ) -> None:
        self._conf = conf
        self._supervisor = supervisor
        self._turn = threading.Lock()
        self._began = self._ends = False
        self._presence: presence.Presence | None = None
        self._done = threading.Event()

    def start(self) -> None:
        """Connect, and answer calls from now on, unless it is to end."""
        rows, owner = compose.lineage(self._conf), compose.owner()
        present = presence.Presence(
            rows, owner, self._conf.host, self._conf.lease
        )
        self._presence = present
        try:
            present.begin()
            self._driver, rooms = compose.service(self._conf, rows, owner)
        except errors.Error as exc:
            LOG.error('Worker %d cannot begin: %s', os.getpid(), exc)
            present.give_up()
            # The launcher starts another one.
            sys.exit(1)
        with self._turn:
            if not self._ends:
                self._serve(rooms)
                self._began = True
                self._supervisor.answers()

    def _serve(self, rooms: compose.Service) -> None:
        self._server = dispatch.listen(
            rpc.transport(self._conf),
            rooms.manager,
            self._conf.host,
            admission.Admission(
                self._conf.executor_thread_pool_size,
                self._conf.waiting_requests,
            ),
            rooms.manager.KINDS,
        )
        self._server.start()
        self._chores = chores.Chores(
            self._conf, rooms, self._driver.follow_key
        )
        self._chores.start()
        self._listener = compose.listener(self._conf, rooms)
        if self._listener:
            self._listener.start()
        LOG.info('Worker %d answers on %s', os.getpid(), rpc.TOPIC)

    def stop(self, graceful: bool = False) -> None:
        """Take no more calls, finish those in flight, then disconnect.

        Who has not begun to answer only ends, whatever it waits for.
        """
        self._ends = True
        present = self._presence
        may_stop = self._turn.acquire(timeout=_BEGINS_WITHIN_S)
        if present and may_stop and self._began:
            self._finish(present)
        elif present:
            present.give_up()
        self._done.set()
        LOG.info('Worker %d has finished', os.getpid())

    def _finish(self, present: presence.Presence) -> None:
        present.stopping()
        self._chores.stop()
        if self._listener:
            self._listener.stop()
        self._server.stop()
        self._server.wait()
        if self._listener:
            self._listener.wait()
        if self._chores.wait():
            self._driver.close()
        present.end()

    def wait(self) -> None:
        """Return when the worker has been stopped."""
        self._done.wait()

    def reset(self) -> None:
        """Nothing: the launcher forks workers anew on SIGHUP."""


class Exposition(service.ServiceBase):
    """The process that shows all workers' counters to Prometheus."""

    def __init__(self, address: str, port: int) -> None:
        self._address = address
        self._port = port

    def start(self) -> None:
        """Answer over HTTP from now on."""
        registry = prometheus_client.CollectorRegistry()
        multiprocess.MultiProcessCollector(registry)
        self._server, self._thread = prometheus_client.start_http_server(
            self._port, self._address, registry
        )

    def stop(self, graceful: bool = False) -> None:
        """Answer no more."""
        self._server.shutdown()

    def wait(self) -> None:
        """Return when stopped."""
        self._thread.join()

    def reset(self) -> None:
        """Nothing: the launcher forks processes anew on SIGHUP."""


def run(arguments: Sequence[str]) -> int:
    """Run until SIGTERM; the exit code."""
    conf = cfg.CONF
    options.register(conf)
    options.load(conf, arguments)
    log.setup(conf, 'rbdcloner')
    if not _fit_to_run(conf):
        return 1
    guru_meditation_report.TextGuruMeditation.setup_autorun(
        _Version, conf=conf
    )
    LOG.info('Starting the workers')
    supervisor = systemd.Supervisor(conf.workers)
    launcher = service.launch(
        reloading.Reloadable(conf, arguments, supervisor.reloading),
        Worker(conf, supervisor),
        workers=conf.workers,
        restart_method='mutate',
    )
    if conf.metrics.port:
        launcher.launch_service(
            Exposition(conf.metrics.address, conf.metrics.port)
        )
    # The launcher acts on what its wake-up descriptor reads, not on this.
    signal.signal(signal.SIGTERM, lambda *_: supervisor.stopping())
    supervisor.watch()
    return launcher.wait() or 0


class _Version:
    """What a Guru Meditation report says of the program."""

    @staticmethod
    def vendor_string() -> str:
        return 'rbdcloner'

    @staticmethod
    def product_string() -> str:
        return _PROGRAM

    @staticmethod
    def version_string_with_package() -> str:
        return rbdcloner.__version__


def _fit_to_run(conf: cfg.ConfigOpts) -> bool:
    """Check what the service needs, in a process that ends before we fork."""

    def check() -> None:
        sys.exit(console.run(_PROGRAM, lambda: _report_problems(conf)))

    child = multiprocessing.get_context('fork').Process(target=check)
    child.start()
    child.join()
    return child.exitcode == 0


def _report_problems(conf: cfg.ConfigOpts) -> int:
    problems = preflight.problems(conf)
    for problem in problems:
        level = logging.ERROR if problem.fatal else logging.WARNING
        LOG.log(level, '%s', problem)
    return 1 if any(problem.fatal for problem in problems) else 0
