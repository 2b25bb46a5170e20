# SPDX-License-Identifier: Apache-2.0
"""What both ends of the wire agree on, and what may cross it."""

from oslo_config import cfg
import oslo_messaging as messaging

#: Our own: nova-compute's is its own, too.
EXCHANGE = 'rbdcloner'
TOPIC = 'rbdcloner'
VERSION = '1.0'

#: What may be raised from a remote error, and nothing else.
ERRORS_FROM = ('rbdcloner.errors',)


def transport(conf: cfg.ConfigOpts) -> messaging.Transport:
    """Return the transport that *conf*'s ``transport_url`` names."""
    return messaging.get_rpc_transport(
        conf, allowed_remote_exmods=list(ERRORS_FROM)
    )
