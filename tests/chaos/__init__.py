# SPDX-License-Identifier: Apache-2.0
"""Faults: what callers were told holds, whatever dies, stops or hangs."""
