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
            (REQUIRE, 'what no manager answers fails; a build is rescheduled'),
            (PREFER, "Nova's own code does it; the disk is adopted later"),
        ],
        help='What to do while no rbdcloner-manager answers. "prefer" needs '
        "a Ceph key that may write in Glance's pool.",
    ),
    cfg.IntOpt(
        'timeout',
        default=rpcapi.TIMEOUT_S,
        min=1,
        help='Seconds in which a request is sent again until it is answered.',
    ),
    cfg.StrOpt(
        'transport_url',
        secret=True,
        help="The managers' message broker, if it is not Nova's. If they "
        'have rabbit_quorum_queue = false, add ?rabbit_quorum_queue=false.',
    ),
    cfg.StrOpt(
        'import',
        default=ALLOWED,
        choices=[
            (ALLOWED, 'the managers import it once, for all hosts'),
            (NEVER, 'Nova downloads and converts it, for each disk'),
        ],
        help='What becomes of an image that cannot be cloned.',
    ),
    cfg.StrOpt(
        'images_pool',
        default='images',
        help='The pool of Glance that snapshots of disks become images in.',
    ),
]


def register(conf: cfg.ConfigOpts) -> None:
    """Make the section known; nothing if it is."""
    conf.register_opts(OPTIONS, 'rbdcloner')
