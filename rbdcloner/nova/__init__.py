# SPDX-License-Identifier: Apache-2.0
"""The plug-in: what nova-compute does with RBD, asked of the service."""
