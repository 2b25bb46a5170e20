# SPDX-License-Identifier: Apache-2.0
"""The order of work: reserve in the database, act in Ceph, move the row."""
