# SPDX-License-Identifier: Apache-2.0
"""Whole lives of disks and images, in any order and with crashes."""
