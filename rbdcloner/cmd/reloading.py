# SPDX-License-Identifier: Apache-2.0
"""SIGHUP: the configuration is read again, and the workers are replaced.

The launcher has its master process read the files and then ends each worker,
which answers what it has; the workers that take their place have the new
values. Nonsense in a file would keep them from starting: it is looked for
before anything is taken over.
"""

from collections.abc import Callable
from collections.abc import Sequence
import logging
from typing import Any

from oslo_config import cfg

from rbdcloner import conf as options

LOG = logging.getLogger(__name__)


class Reloadable:
    """The configuration as the launcher has it: only good files are read."""

    def __init__(
        self,
        conf: cfg.ConfigOpts,
        arguments: Sequence[str],
        reloading: Callable[[], None],
    ) -> None:
        self._conf = conf
        self._arguments = arguments
        self._reloading = reloading

    def __getattr__(self, name: str) -> Any:
        return getattr(self._conf, name)

    def mutate_config_files(self) -> dict[Any, Any]:
        """Take over what can be changed; the rest is named in the log."""
        LOG.info('The configuration is read again, the workers are replaced')
        self._reloading()
        try:
            options.check(self._arguments)
        except (cfg.Error, SystemExit) as exc:
            LOG.error(
                'The configuration stays as it was, mend it and send SIGHUP '
                'again: %s', exc,
            )  # fmt: skip
            return {}
        changed: dict[Any, Any] = self._conf.mutate_config_files()
        return changed
