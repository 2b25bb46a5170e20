# SPDX-License-Identifier: Apache-2.0
"""The database's room, on SQLite."""
