# SPDX-License-Identifier: Apache-2.0
"""Images that cannot be cloned, imported by real managers and programs."""
