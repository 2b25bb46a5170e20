# SPDX-License-Identifier: Apache-2.0
"""The wheel, installed into fresh environments."""
