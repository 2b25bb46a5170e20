# SPDX-License-Identifier: Apache-2.0
"""rbdcloner-manager: what must be settled before anything else is imported.

oslo.service's backend, because importing oslo.messaging would choose eventlet;
that eventlet is not there, because oslo.service still installs it and futurist
imports whatever is; and the folder of the worker processes' counters, because
prometheus_client looks for it when a counter is made.
"""

import os
import sys
import tempfile

from oslo_service import backend


def main() -> int:
    """Run until SIGTERM; the exit code."""
    sys.modules['eventlet'] = None  # type: ignore[assignment]
    backend.init_backend(backend.BackendType.THREADING)
    with tempfile.TemporaryDirectory(prefix='rbdcloner-metrics-') as folder:
        os.environ['PROMETHEUS_MULTIPROC_DIR'] = folder
        from rbdcloner.cmd import serving

        return serving.run(sys.argv[1:])


if __name__ == '__main__':
    sys.exit(main())
