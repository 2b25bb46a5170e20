# SPDX-License-Identifier: Apache-2.0
"""By whose order something in Ceph is destroyed, and on what evidence."""

import dataclasses
import enum


class Order(enum.StrEnum):
    """Who orders a destruction."""

    CALLER = 'caller'
    """A caller's request: it has an id."""

    OPERATOR = 'operator'
    """A command of an operator's."""

    UNDO = 'undo'
    """The service undoes what it made and never delivered."""

    ABSENCE = 'absence'
    """Glance has the image no more."""

    OTHERS = 'others'
    """Others removed the image: the row ends, Ceph is not touched."""

    UNNEEDED = 'unneeded'
    """The service made it for its own use, and that is over."""


@dataclasses.dataclass(frozen=True, slots=True)
class Warrant:
    """Who ordered a destruction, and on what evidence.

    ``request`` is the id of a caller's request, else empty.
    """

    order: Order
    evidence: str
    request: str = ''

    def __str__(self) -> str:
        request = f' (request {self.request})' if self.request else ''
        return f'{self.order}{request}: {self.evidence}'
