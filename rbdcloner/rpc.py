# SPDX-License-Identifier: Apache-2.0
"""What both ends of the wire agree on, and what may cross it."""

from oslo_config import cfg
import oslo_messaging as messaging

#: Our own: nova-compute's is its own, too.
EXCHANGE = 'rbdcloner'
TOPIC = 'rbdcloner'
VERSION = '1.1'

#: For the group [upgrade_levels], as OpenStack's services name it.
UPGRADE_LEVELS: list[cfg.Opt] = [
    cfg.StrOpt(
        'rbdcloner',
        help='The RPC version that all managers of the cloud know, such as '
        '"1.0", while they are being upgraded: clients send nothing newer.',
    ),
]

#: What may be raised from a remote error, and nothing else.
ERRORS_FROM = ('rbdcloner.errors',)


def transport(conf: cfg.ConfigOpts) -> messaging.Transport:
    """Return the transport that *conf*'s ``transport_url`` names."""
    return messaging.get_rpc_transport(
        conf, allowed_remote_exmods=list(ERRORS_FROM)
    )
