# SPDX-License-Identifier: Apache-2.0
"""rbdcloner-manage: the lineage database, for its administrators."""

from collections.abc import Sequence
import sys

from oslo_service import backend


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command of *argv* (the process's own); return its exit code."""
    # Importing the options of oslo.messaging chooses a backend, and without
    # a word from us that is eventlet.
    backend.register_backend_default_hook(
        lambda: backend.BackendType.THREADING
    )
    from rbdcloner.cmd.manage import app

    for stream in (sys.stdout, sys.stderr):
        # A name that the terminal cannot show is escaped; it is no error.
        if hasattr(stream, 'reconfigure'):
            stream.reconfigure(errors='backslashreplace')
    return app.Manage().run(list(sys.argv[1:] if argv is None else argv))
