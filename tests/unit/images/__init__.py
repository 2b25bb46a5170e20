# SPDX-License-Identifier: Apache-2.0
"""What Glance says, and what it should never say."""
