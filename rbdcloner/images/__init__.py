# SPDX-License-Identifier: Apache-2.0
"""Where images come from: Glance."""
