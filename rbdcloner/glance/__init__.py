# SPDX-License-Identifier: Apache-2.0
"""Glance's client, what it answers, and what is remembered of that."""
