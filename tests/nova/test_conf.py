# SPDX-License-Identifier: Apache-2.0
"""The section [rbdcloner], as a file gives it."""

import pathlib
import tempfile

from oslo_config import cfg
import testtools

from rbdcloner.nova import conf

#: By the names that the documentation has; none is the default.
GIVEN = {
    'mode': 'prefer',
    'timeout': 7,
    'transport_url': 'rabbit://broker',
    'import': 'never',
    'images_pool': 'golden',
}


class FileTest(testtools.TestCase):
    def test_each_option_is_read_by_its_name(self) -> None:
        lines = [f'{name} = {value}\n' for name, value in GIVEN.items()]
        read = cfg.ConfigOpts()
        conf.register(read)
        with tempfile.TemporaryDirectory() as folder:
            file = pathlib.Path(folder, 'nova.conf')
            file.write_text(''.join(['[rbdcloner]\n', *lines]))
            read([], default_config_files=[str(file)])
        found = {opt.name: read.rbdcloner[opt.dest] for opt in conf.OPTIONS}
        self.assertEqual(GIVEN, found)
