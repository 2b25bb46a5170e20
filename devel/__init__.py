# SPDX-License-Identifier: Apache-2.0
"""What developers run: servers, the test runner, measurements, chaos."""

import contextlib

# Where nothing is installed yet, only the help of tools/demo is asked for.
with contextlib.suppress(ImportError):
    from rbdcloner import bindings

    bindings.install()
