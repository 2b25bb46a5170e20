# SPDX-License-Identifier: Apache-2.0
"""The way to Glance: the options of group [glance], and the session of them.

The options are keystoneauth's own; only defaults differ. Its endless timeout
would hold a worker's thread for ever: one try and one repetition must fit
into the 60 s that oslo.messaging gives a caller by default.
"""

import re
from typing import Any

from keystoneauth1 import exceptions
from keystoneauth1 import loading
from keystoneauth1 import session as keystone_session
from keystoneauth1.loading import adapter
from oslo_config import cfg
import requests

from rbdcloner import errors

GROUP = 'glance'

# As many as a worker has threads; keystoneauth's ten would be noisy.
_CONNECTIONS = 64

_DEFAULTS = {
    'auth_type': 'password',
    'service_type': 'image',
    'valid_interfaces': ['internal', 'public'],
    'timeout': 20,
    # A connection that Glance closed while it was idle is noticed by using it.
    'connect_retries': 1,
    'status_code_retries': 1,
}


def register(conf: cfg.ConfigOpts) -> None:
    """Register the options of [glance] on *conf*.

    Those of an authentication plug-in are registered by :func:`load`.
    """
    conf.register_opts(_options(), GROUP)


def list_opts() -> list[tuple[str, list[cfg.Opt]]]:
    """Return what oslo-config-generator shows, with plug-in ``password``."""
    plugin = loading.get_auth_plugin_conf_options('password')
    return [(GROUP, _options() + plugin)]


def load(
    conf: cfg.ConfigOpts,
) -> tuple[keystone_session.Session, dict[str, Any]]:
    """Return the session and the adapter's arguments for ``Glance(*…)``.

    Nothing is sent. Each process makes its own, after any fork.

    :raises ConfigurationError: options are missing or exclude each other.
    """
    try:
        return _session(conf), _adapter(conf)
    except (exceptions.ClientException, TypeError, ValueError) as exc:
        raise errors.ConfigurationError(
            problem=f'Group [{GROUP}] is not complete: {exc}',
            remedy='See etc/rbdcloner/rbdcloner.conf.sample',
        ) from exc


def _options() -> list[cfg.Opt]:
    options: list[cfg.Opt] = [
        *loading.get_auth_common_conf_options(),
        *loading.get_session_conf_options(),
        *loading.get_adapter_conf_options(include_deprecated=False),
    ]
    cfg.set_defaults(options, **_DEFAULTS)
    return options


def _session(conf: cfg.ConfigOpts) -> keystone_session.Session:
    section = conf[GROUP].auth_section
    if section and section != GROUP:
        common = loading.get_auth_common_conf_options()
        conf.register_opts(common, section)
    auth = loading.load_auth_from_conf_options(conf, GROUP)
    connections = requests.Session()
    for scheme in ('http://', 'https://'):
        keeping = keystone_session.TCPKeepAliveAdapter(
            pool_maxsize=_CONNECTIONS
        )
        connections.mount(scheme, keeping)
    return loading.load_session_from_conf_options(
        conf, GROUP, auth=auth, session=connections
    )


def _adapter(conf: cfg.ConfigOpts) -> dict[str, Any]:
    arguments: dict[str, Any] = {}
    adapter.process_conf_options(conf[GROUP], arguments)
    override = arguments['endpoint_override']
    if override:
        # python-glanceclient adds the version itself.
        unversioned = re.sub(r'/v2(\.\d+)?/*$', '', override)
        arguments['endpoint_override'] = unversioned
    return arguments
