# SPDX-License-Identifier: Apache-2.0
"""Rows of parents: recorded, protected by somebody, and released."""
