# SPDX-License-Identifier: Apache-2.0
"""The plug-in: what nova-compute does with RBD, asked of the service."""

from rbdcloner import bindings

# Before Nova's own modules import them.
bindings.install()
