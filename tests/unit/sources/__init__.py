# SPDX-License-Identifier: Apache-2.0
"""Which snapshot a disk is cloned from."""
