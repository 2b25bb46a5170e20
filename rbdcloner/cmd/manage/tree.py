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
from rbdcloner.cmd.manage import finding
from rbdcloner.db.lineage import Lineage
from rbdcloner.model import Clone
from rbdcloner.model import Filters
from rbdcloner.model import Image
from rbdcloner.model import Kind
from rbdcloner.model import Parent
from rbdcloner.model import Protector
from rbdcloner.model import Purpose
from rbdcloner.states import FINAL
from rbdcloner.states import ParentState
from rbdcloner.states import State

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

    Who was flattened stands below nobody, unless all are shown; who has no
    parent is a root, if anything was cloned from it. With an instance, of its
    disks alone: parents without one are left out.
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
        """Yield images and parents that are not below another one, by id.

        With a Glance image, its parents, wherever they are.
        """
        everyone = self._lineage.parents()
        for parent in everyone:
            key = _key(parent.snapshot.image)
            self._parents.setdefault(key, []).append(parent)
        if glance_image_id:
            yield from self._of_glance_image(everyone, glance_image_id)
            return
        for parents in self._parents.values():
            clone = self._clone_of(parents[0].snapshot.image)
            if clone is None:
                yield from self._of_parents(parents)
            elif not self._is_below(clone) and any(
                map(self._is_worth_showing, parents)
            ):
                yield self._of_clone(clone)

    def _of_glance_image(
        self, everyone: Sequence[Parent], glance_image_id: str
    ) -> Iterator[Node]:
        yield from self._of_parents(
            [one for one in everyone if one.glance_image_id == glance_image_id]
        )

    def _of_parents(self, parents: Iterable[Parent]) -> Iterator[Node]:
        for parent in parents:
            if self._is_worth_showing(parent):
                yield self._of_parent(parent)

    def _clone_of(self, image: Image) -> Clone | None:
        """Return the row of *image* that is shown, if there is one."""
        clone = self._lineage.find_by_image(image)
        if clone is None:
            # One that is gone is found by its name alone.
            named = Filters(name=image.name, pool=image.pool)
            for gone in self._clones(named):
                if _key(gone.image) == _key(image):
                    clone = gone
        return clone if clone and self._is_shown(clone) else None

    def _is_shown(self, clone: Clone) -> bool:
        instance_uuid = self._instance_uuid or clone.instance_uuid
        states = self._states or (clone.state,)
        return clone.instance_uuid == instance_uuid and clone.state in states

    def _is_below(self, clone: Clone) -> bool:
        """Tell whether *clone*, which is shown, stands below its parent."""
        if clone.parent is None:
            return False
        return not self._states or not _is_flattened(clone)

    def _is_worth_showing(self, parent: Parent) -> bool:
        everything = not (self._states or self._instance_uuid)
        if everything or self._has_child(parent):
            return True
        return not self._instance_uuid and parent.state is ParentState.ACTIVE

    def _is_worth_showing_below(self, parent: Parent) -> bool:
        released = parent.state is ParentState.RELEASED
        return not (released and self._states) or self._has_child(parent)

    def _has_child(self, parent: Parent) -> bool:
        return any(self._children_of(parent))

    def _children_of(self, parent: Parent) -> Iterator[Clone]:
        found = Filters(
            instance_uuid=self._instance_uuid,
            parent_id=parent.id,
            states=self._states,
        )
        return filter(self._is_below, self._clones(found))

    def _of_parent(self, parent: Parent) -> Node:
        children = (self._of_clone(one) for one in self._children_of(parent))
        return Node(_parent_line(parent), _parent_facts(parent), children)

    def _of_clone(self, clone: Clone) -> Node:
        facts = {name: _plain(get(clone)) for name, get in _OF_CLONE.items()}
        below = (
            self._parents.get(_key(clone.image), []) if clone.image.id else []
        )
        children = (
            self._of_parent(parent)
            for parent in below
            if self._is_worth_showing_below(parent)
        )
        return Node(_clone_line(clone), facts, children)

    def _clones(self, filters: Filters) -> Iterator[Clone]:
        return finding.rows(self._lineage, filters)


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


def _is_flattened(clone: Clone) -> bool:
    """Tell whether *clone*, which is there, needs its parent no more."""
    return clone.state not in FINAL and not clone.attached


def _parent_line(parent: Parent) -> str:
    words = [columns.size(parent.size_bytes)]
    # Glance names an RBD image after its own: nothing new to a reader.
    if parent.glance_image_id not in ('', parent.snapshot.image.name):
        words.append(f'Glance image {parent.glance_image_id}')
    if parent.purpose is not Purpose.ADOPTED:
        words.append(str(parent.purpose))
    if parent.protector is not Protector.NOBODY:
        words.append(f'protected by {parent.protector}')
    if parent.state is not ParentState.ACTIVE:
        words.append(str(parent.state))
    return f'{parent.snapshot}  ({", ".join(words)})'


def _clone_line(clone: Clone) -> str:
    words = [columns.size(clone.size_bytes), str(clone.state)]
    if clone.kind is not Kind.DISK:
        words.append(str(clone.kind))
    if clone.parent and _is_flattened(clone):
        words.append('flattened')
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
        'purpose': str(parent.purpose),
        'depth': parent.depth,
    }


def _plain(value: Any) -> Any:
    return getattr(value, 'machine_readable', lambda: value)()


# Of the parent, it is a child here: only what is the clone's own. "kind" tells
# a clone from a parent.
_OF_CLONE = {
    'kind': lambda clone: 'clone',
    'clone_kind': columns.FULL['kind'],
    **{
        name: get
        for name, get in columns.FULL.items()
        if name != 'kind' and not name.startswith('parent_')
    },
}
