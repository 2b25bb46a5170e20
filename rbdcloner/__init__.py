# SPDX-License-Identifier: Apache-2.0
"""Copy-on-write disks from Glance images in Ceph, with their lineage."""

from importlib import metadata

__version__ = metadata.version('rbdcloner')
