# SPDX-License-Identifier: Apache-2.0
"""Parents and their children as trees, read and written as they grow.

Parents are as many as images and are read at once; their children may be a
million and are read page by page, one page per generation at a time.
"""

from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
import dataclasses
import json
from typing import Any
from typing import TypeVar

from rbdcloner.cmd.manage import columns
from rbdcloner.db.lineage import Lineage
from rbdcloner.model import Clone
from rbdcloner.model import Filters
from rbdcloner.model import Image
from rbdcloner.model import Parent
from rbdcloner.model import Protector
from rbdcloner.states import ParentState
from rbdcloner.states import State

_ROWS_AT_ONCE = 500

_BOXES = ('├── ', '└── ', '│   ', '    ')
_ASCII = ('|-- ', '`-- ', '|   ', '    ')

Item = TypeVar('Item')


@dataclasses.dataclass(frozen=True, slots=True)
class Node:
    """A parent or a clone; ``children`` are read when they are asked for."""

    line: str
    facts: dict[str, Any]
    children: Iterable['Node']


class Forest:
    """The lineage's trees, of clones in *states* (all, where it is empty).

    With an instance, of its disks alone: parents without one are left out.
    """

    def __init__(
        self,
        lineage: Lineage,
        instance_uuid: str = '',
        states: Sequence[State] = (),
    ) -> None:
        self._lineage = lineage
        self._instance_uuid = instance_uuid
        self._states = states
        self._parents: dict[tuple[str, ...], list[Parent]] = {}

    def roots(self, glance_image_id: str = '') -> Iterator[Node]:
        """Yield parents that are not below another one, by id.

        With a Glance image, its parents, wherever they are.
        """
        everyone = self._lineage.parents()
        for parent in everyone:
            key = _key(parent.snapshot.image)
            self._parents.setdefault(key, []).append(parent)
        for parent in everyone:
            if not self._is_root(parent, glance_image_id):
                continue
            if self._is_worth_showing(parent):
                yield self._of_parent(parent)

    def _is_root(self, parent: Parent, glance_image_id: str) -> bool:
        if glance_image_id:
            return parent.glance_image_id == glance_image_id
        image = parent.snapshot.image
        named = Filters(
            instance_uuid=self._instance_uuid,
            name=image.name,
            pool=image.pool,
            states=self._states,
        )
        clones = self._clones(named)
        return all(_key(clone.image) != _key(image) for clone in clones)

    def _is_worth_showing(self, parent: Parent) -> bool:
        everything = not (self._states or self._instance_uuid)
        if everything or self._has_child(parent):
            return True
        return not self._instance_uuid and parent.state is ParentState.ACTIVE

    def _has_child(self, parent: Parent) -> bool:
        return bool(self._lineage.page(self._children_of(parent), limit=1))

    def _children_of(self, parent: Parent) -> Filters:
        return Filters(
            instance_uuid=self._instance_uuid,
            parent_id=parent.id,
            states=self._states,
        )

    def _of_parent(self, parent: Parent) -> Node:
        found = self._clones(self._children_of(parent))
        children = (self._of_clone(clone) for clone in found)
        return Node(_parent_line(parent), _parent_facts(parent), children)

    def _of_clone(self, clone: Clone) -> Node:
        facts = {name: _plain(get(clone)) for name, get in _OF_CLONE.items()}
        below = (
            self._parents.get(_key(clone.image), []) if clone.image.id else []
        )
        children = (self._of_parent(parent) for parent in below)
        return Node(_clone_line(clone), facts, children)

    def _clones(self, filters: Filters) -> Iterator[Clone]:
        marker = 0
        while page := self._lineage.page(filters, marker, _ROWS_AT_ONCE):
            yield from page
            marker = page[-1].id


def as_lines(roots: Iterable[Node], encoding: str) -> Iterator[str]:
    """Yield the trees' lines, drawn with what *encoding* has."""
    try:
        ''.join(_BOXES).encode(encoding)
        boxes = _BOXES
    except (UnicodeEncodeError, LookupError):
        boxes = _ASCII
    for root in roots:
        yield root.line
        yield from _branches(root.children, '', boxes)


def as_json(roots: Iterable[Node]) -> Iterator[str]:
    """Yield the pieces of one JSON list of trees, a line per node."""
    yield '['
    yield from _json_items(roots, '\n')
    yield '\n]\n'


def _branches(
    nodes: Iterable[Node], indent: str, boxes: tuple[str, ...]
) -> Iterator[str]:
    branch, last_branch, trunk, nothing = boxes
    for node, last in _marked_last(nodes):
        yield f'{indent}{last_branch if last else branch}{node.line}'
        below = indent + (nothing if last else trunk)
        yield from _branches(node.children, below, boxes)


def _json_items(nodes: Iterable[Node], start: str) -> Iterator[str]:
    for node, last in _marked_last(nodes):
        facts = json.dumps(node.facts)
        yield f'{start}{facts.removesuffix("}")}, "children": ['
        yield from _json_items(node.children, f'{start}  ')
        yield ']}' if last else ']},'


def _marked_last(items: Iterable[Item]) -> Iterator[tuple[Item, bool]]:
    """Yield each item, and whether it is the last."""
    before: list[Item] = []
    for item in items:
        if before:
            yield before.pop(), False
        before.append(item)
    if before:
        yield before.pop(), True


def _key(image: Image) -> tuple[str, ...]:
    return (image.fsid, image.pool, image.namespace, image.id)


def _parent_line(parent: Parent) -> str:
    words = [columns.size(parent.size_bytes)]
    # Glance names an RBD image after its own: nothing new to a reader.
    if parent.glance_image_id != parent.snapshot.image.name:
        words.append(f'Glance image {parent.glance_image_id}')
    if parent.protector is not Protector.NOBODY:
        words.append(f'protected by {parent.protector}')
    if parent.state is not ParentState.ACTIVE:
        words.append(str(parent.state))
    return f'{parent.snapshot}  ({", ".join(words)})'


def _clone_line(clone: Clone) -> str:
    words = [columns.size(clone.size_bytes), str(clone.state)]
    if clone.host:
        words.append(clone.host)
    return f'{clone.image}  ({", ".join(words)})'


def _parent_facts(parent: Parent) -> dict[str, Any]:
    snapshot = parent.snapshot
    return {
        'kind': 'parent',
        'id': parent.id,
        'fsid': snapshot.image.fsid,
        'pool': snapshot.image.pool,
        'namespace': snapshot.image.namespace,
        'image': snapshot.image.name,
        'image_id': snapshot.image.id,
        'snapshot': snapshot.name,
        'snapshot_id': snapshot.id,
        'size_bytes': parent.size_bytes,
        'glance_image_id': parent.glance_image_id,
        'state': str(parent.state),
        'protector': str(parent.protector),
    }


def _plain(value: Any) -> Any:
    return getattr(value, 'machine_readable', lambda: value)()


# Of the parent, it is a child here: only what is the clone's own.
_OF_CLONE = {
    'kind': lambda clone: 'clone',
    **{
        name: get
        for name, get in columns.FULL.items()
        if not name.startswith('parent_')
    },
}
