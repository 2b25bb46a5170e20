# SPDX-License-Identifier: Apache-2.0
"""The lineage database: tables, migrations and every query."""
