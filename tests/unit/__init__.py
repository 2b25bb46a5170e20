# SPDX-License-Identifier: Apache-2.0
"""One room at a time, without servers."""
