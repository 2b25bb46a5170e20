# SPDX-License-Identifier: Apache-2.0
"""All options and defaults; only :mod:`rbdcloner.cmd` reads the values."""

from collections.abc import Sequence
from typing import Any

from oslo_config import cfg
from oslo_db import options as db_options
from oslo_log import log
from oslo_messaging import opts as messaging_options
from oslo_reports import opts as report_options

from rbdcloner import __version__
from rbdcloner.conf.options import OWN
from rbdcloner.images import session
from rbdcloner.images import verification

# What is unlike the libraries' own defaults, and why.
_DEFAULTS: dict[str | None, dict[str, Any]] = {
    # More threads of a worker would wait for Ceph and for each other.
    None: {'executor_thread_pool_size': 16},
    # A caller is told that the database is down, and repeats its call; a
    # connection for each thread.
    'database': {'max_retries': 0, 'max_pool_size': 16, 'pool_timeout': 10},
    'oslo_messaging_rabbit': {
        # Requests outlive a broker's restart only there.
        'rabbit_quorum_queue': True,
        # Else a worker that is stopped is sent its share all the same.
        'rabbit_qos_prefetch_count': 1,
    },
}


def register(conf: cfg.ConfigOpts) -> None:
    """Register every option of the service, and of its libraries, on *conf*.

    oslo.messaging's tracing options exist on ``cfg.CONF`` alone: pass that to
    whatever sends or receives messages.
    """
    log.register_options(conf)
    for group, options in OWN.items():
        conf.register_opts(options, group)
    conf.register_opts(db_options.database_opts, 'database')
    for library in (messaging_options, report_options):
        for group, options in library.list_opts():
            conf.register_opts(options, group)
    session.register(conf)
    verification.register(conf)
    for group, defaults in _DEFAULTS.items():
        for name, value in defaults.items():
            conf.set_default(name, value, group)


def load(
    conf: cfg.ConfigOpts,
    arguments: Sequence[str],
    files: list[str] | None = None,
) -> None:
    """Read *conf* from *files*, or from where OpenStack's services look.

    :raises oslo_config.cfg.Error: a file is missing or says nonsense.
    """
    conf(
        list(arguments),
        project='rbdcloner',
        version=__version__,
        default_config_files=files,
    )
    read(conf)


def read(conf: cfg.ConfigOpts) -> None:
    """Read every value: nonsense in a file is found when a value is read.

    :raises oslo_config.cfg.Error: a value is nonsense.
    """
    for name in conf:
        value = conf[name]
        if isinstance(value, cfg.ConfigOpts.GroupAttr):
            for option in value:
                value[option]


def check(arguments: Sequence[str]) -> None:
    """Read every value that :func:`load` would, and keep none.

    :raises oslo_config.cfg.Error: a file is missing or says nonsense.
    """
    conf = cfg.ConfigOpts()
    register(conf)
    load(conf, arguments)


def list_opts() -> list[tuple[str | None, Sequence[cfg.Opt]]]:
    """Return what oslo-config-generator shows of our own."""
    return [*OWN.items(), *session.list_opts()]
