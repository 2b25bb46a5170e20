# SPDX-License-Identifier: Apache-2.0
"""Every figure, by task: what each contestant is measured at.

Who does Nova's work, by its own code or by librbd alone, is held against this
service. The larger of two pools or families is held against the smallest: it
should not matter.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence

from tests.bench import compute_figures
from tests.bench import import_figures
from tests.bench import scale
from tests.bench.figures import Figure
from tests.bench.figures import Reach

#: What ``--only`` takes besides the names of figures.
TASKS = (
    *('create', 'snapshot', 'delete', 'children', 'faults'),
    import_figures.TASK,
    compute_figures.TASK,
)

_THREADS = (1, 4, 16)

_CREATE = (
    Figure('librbd_create_p50_ms', 'librbd', 'p50'),
    Figure('librbd_create_p95_ms', 'librbd', 'p95'),
    Figure(
        'create_disk_p50_ms', 'sqlite', 'p50', against='librbd_create_p50_ms'
    ),
    Figure(
        'create_disk_p95_ms', 'sqlite', 'p95', against='librbd_create_p95_ms'
    ),
    Figure(
        'create_disk_mariadb_p50_ms',
        *('mariadb', 'p50'),
        against='librbd_create_p50_ms',
    ),
    Figure(
        'create_disk_cold_ms', 'fresh', 'p50', against='create_disk_p50_ms'
    ),
    Figure(
        'rbd_cli_create_p50_ms', 'rbd', 'p50', against='librbd_create_p50_ms'
    ),
    Figure('nova_create_p50_ms', 'nova', 'p50', against='create_disk_p50_ms'),
    Figure('get_disk_p50_ms', 'sqlite', 'p50', act='get'),
    Figure('librbd_remove_p50_ms', 'librbd', 'p50', act='remove'),
    Figure(
        'delete_disk_p50_ms',
        *('sqlite', 'p50'),
        act='remove',
        against='librbd_remove_p50_ms',
    ),
    *(
        Figure(f'librbd_create_rate_{threads}', 'librbd', 'rate', threads)
        for threads in _THREADS
    ),
    *(
        Figure(
            f'create_disk_rate_{threads}',
            *('sqlite', 'rate', threads),
            against=f'librbd_create_rate_{threads}',
        )
        for threads in _THREADS
    ),
    Figure(
        'create_disk_mariadb_rate_16',
        *('mariadb', 'rate', 16),
        against='librbd_create_rate_16',
    ),
    Figure('rbd_import_s', 'import', 'p50'),
    Figure('idle_worker_mib', 'sqlite', 'uss'),
    Figure('idle_worker_rss_mib', 'sqlite', 'rss'),
)

_MANAGERS = (1, 2, 4)

_FAULTS = (
    *(
        Figure(
            f'managers_{count}_rate_16',
            *('managers', 'rate', 16),
            task='faults',
            count=count,
            against='' if count == 1 else 'managers_1_rate_16',
        )
        for count in _MANAGERS
    ),
    Figure(
        'killed_to_answer_p50_s',
        *('killed', 'p50'),
        task='faults',
        reach=(Reach('value', most=10),),
    ),
    Figure(
        'killed_to_resolved_p50_s',
        *('killed', 'p50'),
        act='get',
        task='faults',
    ),
)


def figures(sizes: scale.Scale) -> list[Figure]:
    """Return all that is measured at this scale, in order."""
    return [
        *_CREATE,
        *_snapshot(sizes),
        *_delete(sizes),
        *_children(sizes),
        *_FAULTS,
        *import_figures.figures(),
        *compute_figures.figures(sizes),
    ]


def chosen(
    names: Sequence[str], sizes: scale.Scale, has_nova: bool
) -> list[Figure]:
    """Return the figures and tasks called so, and what they need.

    Called by no name: all of Nova, or without it all but those.

    :raises ValueError: one is neither, or needs Nova and there is none.
    """
    known = figures(sizes)
    by_name = {figure.name: figure for figure in known}
    wanted = {one.name for one in known if not names}
    for name in names:
        if name not in by_name and name not in TASKS:
            raise ValueError(f'{name} is not among: {" ".join(by_name)}')
        wanted |= {one.name for one in known if name in (one.name, one.task)}
    novas = {one.name for one in known if _is_novas(one)}
    if not has_nova:
        if novas.union((compute_figures.TASK,)) & set(names):
            raise ValueError('what Nova does needs --nova')
        wanted -= novas
    elif not names:
        wanted = novas
    more = wanted
    while more := {by_name[name].against for name in more} - {''} - wanted:
        wanted |= more
    return [figure for figure in known if figure.name in wanted]


def _is_novas(figure: Figure) -> bool:
    return 'nova' in (figure.who, figure.task)


def _snapshot(sizes: scale.Scale) -> Iterator[Figure]:
    def figure(
        name: str, who: str, count: int, against: str = '', *reach: Reach
    ) -> Figure:
        return Figure(
            f'{name}_p50_ms',
            *(who, 'p50'),
            task='snapshot',
            count=count,
            against=against,
            reach=reach,
        )

    written = sizes.written_bytes
    ours = 'snapshot_disk_p50_ms'
    yield figure('snapshot_disk_empty', 'sqlite', 0)
    yield figure(
        *('snapshot_disk', 'sqlite', written),
        'snapshot_disk_empty_p50_ms',
        *(Reach('value', most=250), Reach('ratio', most=1.3)),
    )
    yield figure('librbd_snapshot', 'librbd', written, ours)
    yield figure('nova_snapshot', 'nova', written, ours)


def _delete(sizes: scale.Scale) -> Iterator[Figure]:
    smallest, largest = sizes.pools[0], sizes.pools[-1]
    for count in sizes.pools:
        is_largest = count == largest
        yield from _deleters(
            f'pool_{count}',
            count,
            against='' if count == smallest else f'pool_{smallest}',
            novas=(Reach('ratio', least=3),) if is_largest else (),
        )
    yield from _deleters(
        'written',
        largest,
        against=f'pool_{largest}',
        novas=(Reach('ratio', least=3),),
        written=True,
    )
    yield Figure(
        'reap_p50_ms',
        *('reaper', 'p50'),
        act='remove',
        task='delete',
        count=smallest,
    )


def _deleters(
    name: str,
    count: int,
    against: str,
    novas: tuple[Reach, ...],
    written: bool = False,
) -> Iterator[Figure]:
    ours = f'delete_disk_{name}_p50_ms'
    other = f'delete_disk_{against}_p50_ms' if against else ''
    flat = (Reach('ratio', most=round(4 / 3, 2)),) if against else ()
    for what, who, held_against, reach in (
        (ours, 'sqlite', other, flat),
        (f'librbd_delete_{name}_p50_ms', 'librbd', ours, ()),
        (f'nova_delete_{name}_p50_ms', 'nova', ours, novas),
    ):
        yield Figure(
            what,
            *(who, 'p50'),
            act='remove',
            against=held_against,
            task='delete',
            count=count,
            written=written,
            reach=reach,
        )


def _children(sizes: scale.Scale) -> Iterator[Figure]:
    def figure(
        name: str, who: str, act: str, count: int, against: str, *reach: Reach
    ) -> Figure:
        return Figure(
            f'{name}_{count}_p50_ms',
            *(who, 'p50'),
            act=act,
            task='children',
            count=count,
            against=against,
            reach=reach,
        )

    for count in sizes.children:
        for database, part in (('sqlite', ''), ('mariadb', '_mariadb')):
            for act, what in (('get', 'query'), ('page', 'page')):
                name = f'children_{what}{part}'
                if count == sizes.children[0]:
                    yield figure(name, database, act, count, '')
                    continue
                first = f'{name}_{sizes.children[0]}_p50_ms'
                flat = (Reach('ratio', most=1.3),) if act == 'get' else ()
                yield figure(name, database, act, count, first, *flat)
        for who, counts in (
            ('v2', sizes.children),
            ('v1', sizes.v1_children),
        ):
            if count in counts:
                ours = f'children_query_{count}_p50_ms'
                yield figure(f'list_children_{who}', who, 'get', count, ours)
