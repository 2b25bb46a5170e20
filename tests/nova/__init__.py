# SPDX-License-Identifier: Apache-2.0
"""The plug-in in Nova's interpreter, against real servers.

nova-compute decides once, before anything of oslo's is imported, whether it
runs on native threads or under eventlet. Its program is imported first, so
that the tests run as that release of Nova does by default.
"""

import os
import sys

import nova.cmd.compute  # noqa: F401

#: Nova's variable: 1 is native threads, 0 eventlet.
EVENTLET = 'OS_NOVA_DISABLE_EVENTLET_PATCHING'


def is_green() -> bool:
    """Tell whether this process's threads are eventlet's."""
    # Where it is forbidden, nobody imports it.
    eventlet = sys.modules.get('eventlet')
    return bool(eventlet and eventlet.patcher.is_monkey_patched('thread'))


# Nova's own unit tests decide once more.
os.environ.setdefault(EVENTLET, str(int(not is_green())))
