# SPDX-License-Identifier: Apache-2.0
"""Who may work on a row."""
