# SPDX-License-Identifier: Apache-2.0
"""The section [rbdcloner] of nova.conf."""

from oslo_config import cfg

from rbdcloner import rpcapi

REQUIRE = 'require'
PREFER = 'prefer'

ALLOWED = 'allowed'
NEVER = 'never'

OPTIONS: list[cfg.Opt] = [
    cfg.StrOpt(
        'mode',
        default=REQUIRE,
        choices=[
            (REQUIRE, 'the operation fails, and Nova reschedules a build'),
            (PREFER, "Nova's own code is used, and the disk is adopted later"),
        ],
        help='What nova-compute does while no rbdcloner-manager answers. '
        '"prefer" needs a Ceph key with write access to the pool of Glance.',
    ),
    cfg.IntOpt(
        'timeout',
        default=rpcapi.TIMEOUT_S,
        min=1,
        help='Timeout in seconds for a request to rbdcloner-manager. Until '
        'then nova-compute repeats a request that is not answered.',
    ),
    cfg.StrOpt(
        'transport_url',
        secret=True,
        help='URL of the message broker of rbdcloner-manager. Not set: the '
        'same broker as "transport_url" in [DEFAULT]. If rbdcloner.conf has '
        '"rabbit_quorum_queue = false", append ?rabbit_quorum_queue=false to '
        'the URL.',
    ),
    cfg.StrOpt(
        'import',
        default=ALLOWED,
        choices=[
            (ALLOWED, 'rbdcloner imports the image once, for all hosts'),
            (NEVER, 'Nova downloads and converts the image for each disk'),
        ],
        help='Whether rbdcloner imports an image that cannot be cloned.',
    ),
    cfg.StrOpt(
        'images_pool',
        default='images',
        help='Name of the pool of Glance in which snapshots of servers are '
        'stored as images.',
    ),
]


def register(conf: cfg.ConfigOpts) -> None:
    """Make the section known; nothing if it is."""
    conf.register_opts(OPTIONS, 'rbdcloner')
