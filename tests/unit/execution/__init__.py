# SPDX-License-Identifier: Apache-2.0
"""The steps in Ceph for one row."""
