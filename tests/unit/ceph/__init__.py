# SPDX-License-Identifier: Apache-2.0
"""The Ceph driver, over its double."""
