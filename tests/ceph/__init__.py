# SPDX-License-Identifier: Apache-2.0
"""The Ceph driver over a real cluster."""
