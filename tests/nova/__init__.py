# SPDX-License-Identifier: Apache-2.0
"""The plug-in in Nova's interpreter, against real servers.

Nova decides once, and before anything of oslo's is imported, whether it runs
on native threads.
"""

import os

os.environ.setdefault('OS_NOVA_DISABLE_EVENTLET_PATCHING', '1')

from nova import monkey_patch

monkey_patch.patch()
