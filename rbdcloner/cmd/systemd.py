# SPDX-License-Identifier: Apache-2.0
"""What systemd is told of this service, where it asks (``Type=notify``).

Ready is a service whose workers answer. What oslo.service and its launcher
have says so before the first worker is started, and has no other word.
"""

import logging
import multiprocessing
import os
import socket
import threading
import time

LOG = logging.getLogger(__name__)


class Supervisor:
    """Who started this process and waits until *workers* answer, if anybody.

    Made before the fork, and before the launcher finds ``NOTIFY_SOCKET``.
    """

    def __init__(self, workers: int) -> None:
        self._address = os.environ.pop('NOTIFY_SOCKET', '')
        self._workers = self._missing = workers
        self._lock = threading.Lock()
        self._answering = multiprocessing.get_context('fork').Semaphore(0)

    def watch(self) -> None:
        """Say that the service is ready, whenever enough workers answer."""
        if self._address:
            threading.Thread(target=self._watch, daemon=True).start()

    def answers(self) -> None:
        """Take note, in a worker, that it answers from now on."""
        self._answering.release()

    def reloading(self) -> None:
        """Say that the workers are replaced: not ready until all are."""
        with self._lock:
            self._missing = self._workers
            microseconds = time.monotonic_ns() // 1000
            self._tell(f'RELOADING=1\nMONOTONIC_USEC={microseconds}')

    def stopping(self) -> None:
        """Say that the service ends."""
        self._tell('STOPPING=1')

    def _watch(self) -> None:
        while True:
            self._answering.acquire()
            with self._lock:
                self._missing -= 1
                if not self._missing:
                    self._tell('READY=1')

    def _tell(self, message: str) -> None:
        if not self._address:
            return
        address = self._address
        if address.startswith('@'):
            address = f'\0{address[1:]}'
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.sendto(message.encode(), address)
        except OSError as exc:
            LOG.warning('systemd is not told %s: %s', message, exc)
