# SPDX-License-Identifier: Apache-2.0
"""Rows of clones: their states, leases, deletions and what is waiting."""
