# SPDX-License-Identifier: Apache-2.0
"""The commands, as an administrator runs them."""
