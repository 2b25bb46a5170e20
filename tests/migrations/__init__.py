# SPDX-License-Identifier: Apache-2.0
"""The database's room, on every engine it is promised for."""
