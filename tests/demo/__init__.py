# SPDX-License-Identifier: Apache-2.0
"""The demonstration: the main job, shown and checked on real servers."""
