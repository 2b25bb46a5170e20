# SPDX-License-Identifier: Apache-2.0
"""A real OpenStack on one machine, for tests and measurements.

It stands on the servers of ``tests.stack``, whose ``down`` ends it with them.
Only Neutron is a stand-in. As there, everything lives in the stack's folder
and listens on free ports of 127.0.0.1.
"""

from tests.openstack.client import Client
from tests.openstack.cloud import OpenStack
from tests.openstack.servers import ServerFailed
from tests.openstack.shared import shared

__all__ = ['Client', 'OpenStack', 'ServerFailed', 'shared']
