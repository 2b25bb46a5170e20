# SPDX-License-Identifier: Apache-2.0
"""The nouns that the rooms hand each other, frozen.

Words are Ceph's. Identity is by id: a name is an attribute that Nova reuses
and the trash frees. An id that is not known yet is the empty string (an
image's) or ``None`` (a snapshot's).
"""

from rbdcloner.model.glance import GLANCE_NAME as GLANCE_NAME
from rbdcloner.model.glance import GlanceImage as GlanceImage
from rbdcloner.model.glance import GlanceLocation as GlanceLocation
from rbdcloner.model.glance import ImageSignature as ImageSignature
from rbdcloner.model.lineage import Age as Age
from rbdcloner.model.lineage import Mark as Mark
from rbdcloner.model.rbd import CloneFormat as CloneFormat
from rbdcloner.model.rbd import Descent as Descent
from rbdcloner.model.rbd import Image as Image
from rbdcloner.model.rbd import ImageFacts as ImageFacts
from rbdcloner.model.rbd import PoolFacts as PoolFacts
from rbdcloner.model.rbd import QemuTarget as QemuTarget
from rbdcloner.model.rbd import Snapshot as Snapshot
from rbdcloner.model.rbd import SnapshotFacts as SnapshotFacts
from rbdcloner.model.rows import Base as Base
from rbdcloner.model.rows import Brake as Brake
from rbdcloner.model.rows import Change as Change
from rbdcloner.model.rows import Clone as Clone
from rbdcloner.model.rows import DiskRequest as DiskRequest
from rbdcloner.model.rows import Filters as Filters
from rbdcloner.model.rows import Flatten as Flatten
from rbdcloner.model.rows import FlattenReason as FlattenReason
from rbdcloner.model.rows import Kind as Kind
from rbdcloner.model.rows import Parent as Parent
from rbdcloner.model.rows import Protector as Protector
from rbdcloner.model.rows import Purpose as Purpose
from rbdcloner.model.rows import Request as Request
from rbdcloner.model.rows import Way as Way
from rbdcloner.model.rows import Worker as Worker
from rbdcloner.model.warrants import Order as Order
from rbdcloner.model.warrants import Warrant as Warrant
