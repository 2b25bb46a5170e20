# SPDX-License-Identifier: Apache-2.0
"""A key manager for other processes: its certificates lie in a folder."""

import os
import pathlib
from typing import Any

from tests.unit.images import keys

BACKEND = f'{__name__}.FolderKeyManager'
#: The environment variable that names the folder.
VARIABLE = 'RBDCLONER_CERTIFICATES'


class FolderKeyManager(keys.KeyManager):
    """Knows the certificates of the folder, a file each, by its name."""

    def get(self, context: Any, managed_object_id: str, *given: Any) -> Any:
        """Return a certificate."""
        path = pathlib.Path(os.environ[VARIABLE], managed_object_id)
        if path.exists():
            keys.CERTIFICATES[managed_object_id] = path.read_bytes()
        return super().get(context, managed_object_id, *given)
