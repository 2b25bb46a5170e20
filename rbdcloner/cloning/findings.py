# SPDX-License-Identifier: Apache-2.0
"""What comes of the images and rows of a restored database."""

import dataclasses
import enum

from rbdcloner.model import Image


class Outcome(enum.StrEnum):
    """What comes of an image or of its row."""

    ADOPTED = 'adopted'
    READY = 'ready'
    RESIZED = 'resized'
    DELETING = 'deleting'
    RETIRED = 'retired'
    GONE = 'gone'
    UNEXPLAINED = 'unexplained'
    FAILED = 'failed'


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """An image, what comes of it, and why."""

    image: Image
    outcome: Outcome
    why: str


def unexplained(image: Image, why: str) -> Finding:
    """Return that nothing is done about an image, and *why*."""
    return Finding(image, Outcome.UNEXPLAINED, why)
