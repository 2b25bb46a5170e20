# SPDX-License-Identifier: Apache-2.0
"""Sessions made of options, as the manager makes them."""

from oslo_config import cfg

from rbdcloner.images import session


def of(url, timeout_s, **options):
    """Return the session and adapter arguments of a Glance without Keystone.

    Nothing is tried twice, so that one timeout is all the waiting.
    """
    return session.load(
        configured(
            auth_type='none',
            endpoint_override=url,
            timeout=timeout_s,
            **{'connect_retries': 0, 'status_code_retries': 0, **options},
        )
    )


def configured(**options):
    """Return options of which group [glance] has these."""
    conf = cfg.ConfigOpts()
    session.register(conf)
    conf([], default_config_files=[], default_config_dirs=[])
    for name, value in options.items():
        conf.set_override(name, value, session.GROUP)
    return conf
