# SPDX-License-Identifier: Apache-2.0
"""Work that no caller asked for."""
