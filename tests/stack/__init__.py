# SPDX-License-Identifier: Apache-2.0
"""Real servers for tests and demonstrations: Ceph, RabbitMQ, Glance, SQL.

Everything lives in one scratch folder, listens on free ports of 127.0.0.1 and
is ended with the fixture, or by ``down(folder)`` if it was left running.
pifpaf was looked at: its Ceph has no cephx, its PostgreSQL cannot run as
root, and its daemons can neither be restarted nor outlive their process; so
this stands on ``fixtures`` and ``psutil``.
"""

from tests.stack.process import StackError
from tests.stack.stack import Stack
from tests.stack.stack import down
from tests.stack.stack import shared

__all__ = ['Stack', 'StackError', 'down', 'shared']
