# SPDX-License-Identifier: Apache-2.0
"""A restored database is brought up to what is in Ceph."""
