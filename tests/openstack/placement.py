# SPDX-License-Identifier: Apache-2.0
"""Placement."""

from __future__ import annotations

from collections.abc import Mapping
import pathlib
from typing import Any

from tests.openstack import conf
from tests.openstack import keystone
from tests.openstack import program


class Placement(program.Wsgi):
    """A running Placement."""

    name = 'placement'
    application = 'placement.wsgi.api:application'
    folder_variable = 'OS_PLACEMENT_CONFIG_DIR'

    def __init__(
        self,
        stack_folder: pathlib.Path | str,
        identity: keystone.Keystone,
        database_url: str,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        self._identity = identity
        self._database_url = database_url
        super().__init__(stack_folder, settings)

    def _prepare(self) -> None:
        file = self.folder / 'placement.conf'
        conf.write(
            file,
            {
                'DEFAULT': {
                    'log_file': self.stack_folder / 'log' / 'placement.log'
                },
                'api': {'auth_strategy': 'keystone'},
                'placement_database': {'connection': self._database_url},
            },
            self._identity.authtoken('placement'),
        )
        self._manage('placement-manage', '--config-file', file, 'db', 'sync')
