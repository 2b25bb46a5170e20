# SPDX-License-Identifier: Apache-2.0
"""An in-memory Ceph cluster behind the driver's interface, for unit tests.

The suite ``tests/driver_suite`` proves it and librbd alike. Beside the
driver's verbs it has what others do to a cluster (:mod:`.others`) and what
can go wrong: :attr:`CephDouble.on_act` is told of each elementary act before
and after it, and may raise; :meth:`CephDouble.fail` makes acts fail. A watch
that was open when a test died (a ``BaseException``) stays, as a killed
client's does, until :meth:`CephDouble.expire_watches`.
"""

from tests.ceph_double.cluster import ACTS
from tests.ceph_double.cluster import FSID
from tests.ceph_double.cluster import Access
from tests.ceph_double.cluster import When
from tests.ceph_double.double import CephDouble
from tests.ceph_double.held import Half

__all__ = ['ACTS', 'FSID', 'Access', 'CephDouble', 'Half', 'When']
