# SPDX-License-Identifier: Apache-2.0
"""Sphinx's configuration. Run it at the repository's root.

Pages that repeat what the code says are generated from it: options from
oslo.config, commands from cliff, release notes from reno.
"""

from oslo_service import backend

import rbdcloner

# Importing the options of oslo.messaging chooses a backend: by default
# eventlet, which the service does not use.
backend.register_backend_default_hook(lambda: backend.BackendType.THREADING)

project = 'rbdcloner'
author = 'rbdcloner contributors'
copyright = author
version = release = rbdcloner.__version__

extensions = [
    'cliff.sphinxext',
    'openstackdocstheme',
    'oslo_config.sphinxext',
    'reno.sphinxext',
]

exclude_patterns = ['**/_*.rst']
highlight_language = 'none'
# Options of commands begin with two dashes, not with a long one.
smartquotes = False

html_theme = 'openstackdocs'
openstackdocs_auto_name = False
openstackdocs_auto_version = False

autoprogram_cliff_application = 'rbdcloner-manage'

_MAN_SECTION = 1
man_pages = [
    (f'cli/{name}', name, summary, [author], _MAN_SECTION)
    for name, summary in (
        ('rbdcloner-manager', 'clone Glance images into RBD disks'),
        ('rbdcloner-manage', 'manage the rbdcloner service'),
        ('rbdcloner-status', 'check a host that runs rbdcloner-manager'),
    )
]
