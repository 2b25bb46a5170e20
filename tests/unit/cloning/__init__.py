# SPDX-License-Identifier: Apache-2.0
"""The order of work, by table and by rule."""
