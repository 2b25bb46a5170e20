# SPDX-License-Identifier: Apache-2.0
"""What ``compute_driver = rbdcloner.LibvirtDriver`` names.

Nova looks for drivers in its own tree and nowhere else, so the wheel adds
this module to it.
"""

from rbdcloner.nova.driver import LibvirtDriver

__all__ = ['LibvirtDriver']
