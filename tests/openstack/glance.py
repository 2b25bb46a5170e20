# SPDX-License-Identifier: Apache-2.0
"""The stack's Glance, with Keystone before it."""

from __future__ import annotations

from collections.abc import Mapping
import pathlib
from typing import Any

from glanceclient import client as glance_client

from tests.openstack import conf
from tests.openstack import keystone
from tests.stack import ceph
from tests.stack import glance


class Glance(glance.Glance):
    """A running Glance that asks who calls; ``client`` is an administrator.

    Its name is not that of a Glance without Keystone, so that both can be on
    one stack.
    """

    name = 'glance-api'

    def __init__(
        self,
        stack_folder: pathlib.Path | str,
        cluster: ceph.Ceph,
        identity: keystone.Keystone,
        database_url: str,
        settings: Mapping[str, Any] | None = None,
        options: conf.Options | None = None,
    ) -> None:
        self._identity = identity
        super().__init__(
            stack_folder,
            cluster,
            settings,
            conf=conf.merged(
                {
                    # As by default: the database is no SQLite.
                    'DEFAULT': {'do_secure_hash': True},
                    'database': {'connection': database_url},
                    'paste_deploy': {'flavor': 'keystone'},
                },
                identity.authtoken('glance'),
                options or {},
            ),
        )

    def client(self) -> Any:
        """A python-glanceclient of the administrator's."""
        return glance_client.Client(
            '2',
            session=self._identity.session(),
            endpoint_override=self.url,
        )
