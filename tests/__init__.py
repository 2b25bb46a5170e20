# SPDX-License-Identifier: Apache-2.0
"""What proves the service: unit suites and suites over real servers."""

import contextlib

# Where nothing is installed yet, only the help of tools/demo is asked for.
with contextlib.suppress(ImportError):
    from rbdcloner import bindings

    bindings.install()
