# SPDX-License-Identifier: Apache-2.0
"""What callers ask for: disks made, changed, snapshotted, deleted, adopted."""
