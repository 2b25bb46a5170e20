# SPDX-License-Identifier: Apache-2.0
"""Asking the service until it answers, or until the caller gives up."""

from __future__ import annotations

import random
import time
from typing import Any
import uuid

from rbdcloner import errors
from rbdcloner import rpcapi
from tests.chaos.ledger import Ledger
from tests.chaos.ledger import Thing
from tests.stack import manager

PROJECT = uuid.uuid4().hex
#: How long a caller repeats what may succeed later.
PATIENCE_S = 90


class GaveUp(Exception):
    """Nobody knows what came of it; the argument is the last failure."""


class Asker:
    """One caller's way to the service."""

    def __init__(
        self, api: rpcapi.API, ledger: Ledger, chance: random.Random
    ) -> None:
        self.api = api
        self.ledger = ledger
        self.chance = chance
        self._ctxt = manager.caller(PROJECT)

    def ask(
        self,
        thing: Thing,
        method: str,
        patience_s: float = PATIENCE_S,
        /,
        **given: Any,
    ) -> Any:
        """Return the answer to a call about *thing*, repeated if need be.

        :raises errors.Error: it was refused, for good.
        :raises GaveUp: it may have been done, or be done later.
        """
        detail = ', '.join(
            f'{key}={value}'
            for key, value in given.items()
            if key not in ('project_id', 'host', 'pool', 'dest_pool')
        )
        thing.note(f'{method}({detail})')
        deadline = time.monotonic() + patience_s
        while True:
            failure = self._try(thing, method, given)
            if not isinstance(failure, Exception):
                return failure
            if time.monotonic() > deadline:
                thing.note(f'{method}: gave up')
                raise GaveUp(str(failure))
            time.sleep(self.chance.uniform(0.1, 0.6))

    def _try(self, thing: Thing, method: str, given: dict[str, Any]) -> Any:
        """Return the answer, or the failure that may be over next time."""
        try:
            answer = getattr(self.api, method)(self._ctxt, **given)
        except errors.Error as exc:
            thing.note(f'{method}: {exc.name}: {exc}')
            self.ledger.failed(exc.name)
            if not exc.retryable:
                raise
            return exc
        # Whatever the transport raises says nothing of what came of it.
        except Exception as exc:
            name = type(exc).__name__
            thing.note(f'{method}: {name}: {exc}')
            self.ledger.failed(name)
            return exc
        thing.note(f'{method}: {_brief(answer)}')
        return answer


def _brief(answer: Any) -> str:
    if isinstance(answer, list):
        return '; '.join(map(_brief, answer)) or 'none'
    if isinstance(answer, dict) and 'state' in answer:
        keys = ('uuid', 'state', 'size_bytes')
        return ', '.join(str(answer[key]) for key in keys)
    return str(answer)
