# SPDX-License-Identifier: Apache-2.0
"""From a Glance image to the snapshot that disks are cloned from."""
