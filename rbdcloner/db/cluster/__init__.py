# SPDX-License-Identifier: Apache-2.0
"""What workers share: who they are, whose turn, which generation."""
