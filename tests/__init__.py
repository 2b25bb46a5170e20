# SPDX-License-Identifier: Apache-2.0
"""What proves the service: unit suites and suites over real servers."""

import devel  # noqa: F401 - finds Ceph's modules
