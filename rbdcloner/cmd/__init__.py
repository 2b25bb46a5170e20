# SPDX-License-Identifier: Apache-2.0
"""The composition roots: they alone read options and wire rooms together."""
