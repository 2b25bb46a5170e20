# SPDX-License-Identifier: Apache-2.0
"""The manager's processes."""
