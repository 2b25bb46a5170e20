# SPDX-License-Identifier: Apache-2.0
"""A real OpenStack on one machine, for tests and measurements.

It stands on the servers of ``devel.stack``, whose ``down`` ends it with them.
Only Neutron is a stand-in. As there, everything lives in the stack's folder
and listens on free ports of 127.0.0.1.
"""

from devel.openstack.client import Client
from devel.openstack.cloud import OpenStack
from devel.openstack.servers import ServerFailed
from devel.openstack.shared import shared

__all__ = ['Client', 'OpenStack', 'ServerFailed', 'shared']
