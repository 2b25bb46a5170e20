# SPDX-License-Identifier: Apache-2.0
"""service list: which managers there are, how they are, what they do."""

import argparse
from collections.abc import Callable
from collections.abc import Sequence
import datetime
from typing import Any

from cliff import columns as formattable
from cliff import command
from cliff import lister

from rbdcloner import errors
from rbdcloner.cmd import presence
from rbdcloner.cmd.manage import app
from rbdcloner.cmd.manage import columns
from rbdcloner.cmd.manage import roster
from rbdcloner.cmd.manage.roster import Condition
from rbdcloner.cmd.manage.roster import Manager
from rbdcloner.db.lineage import Lineage
from rbdcloner.model import Brake
from rbdcloner.model import Worker


class _Lines(formattable.FormattableColumn[list[str]]):
    """Texts; to persons a line each."""

    def human_readable(self) -> str:
        return '\n'.join(self._value)


_BRIEF: dict[str, Callable[[Manager], Any]] = {
    'Host': lambda manager: manager.host,
    'State': lambda manager: str(manager.condition),
    'Workers': lambda manager: _workers(manager),
    'Version': lambda manager: _several([v for v, _ in manager.versions()]),
    'RPC': lambda manager: _several([rpc for _, rpc in manager.versions()]),
    'Last Seen': lambda manager: _seen(manager),
    'Clock': lambda manager: _clock(manager),
    'Doing': lambda manager: _Lines(list(manager.doing)),
}

_FULL: dict[str, Callable[[Manager], Any]] = {
    'host': lambda manager: manager.host,
    'state': lambda manager: str(manager.condition),
    'up': lambda manager: _count(manager, Condition.UP),
    'versions': lambda manager: [v for v, _ in manager.versions()],
    'rpc_versions': lambda manager: [rpc for _, rpc in manager.versions()],
    'seen_at': lambda manager: _seen_at(manager),
    'clock_offset_ms': lambda manager: manager.clock_offset_ms,
    'doing': lambda manager: list(manager.doing),
    'workers': lambda manager: [_worker(w) for w in manager.workers],
}


class List(app.OfManage, lister.Lister):
    """List the managers: how they are, and what each is doing.

    A manager is "up" while one of its workers was seen lately, "stopping"
    while it only finishes what it has, "shut out" when Ceph refuses it and it
    has not connected anew, "down" when it is not seen and has not said why.
    What a manager does has the time since it began; what it "left" is taken
    over by another one. Last seen and the clock are by the database's clock.
    """

    _found: Sequence[Manager] = ()

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Add who is listed."""
        parser = super().get_parser(prog_name)
        parser.add_argument(
            '--all',
            action='store_true',
            help='also managers that were stopped, and workers that others '
            'have taken the place of',
        )
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[Sequence[str], list[list[Any]]]:
        """Return the managers' values.

        :raises ConfigurationError: the schema has no place for them yet.
        """
        lineage = self.app.lineage
        if not lineage.records_workers():
            raise errors.ConfigurationError(
                problem='Managers are not recorded yet',
                remedy='Run "rbdcloner-manage db sync", which running '
                'managers notice',
            )
        self._found = list(roster.managers(lineage, parsed_args.all))
        shown = _BRIEF if parsed_args.formatter == 'table' else _FULL
        return tuple(shown), [
            [value(manager) for value in shown.values()]
            for manager in self._found
        ]

    def afterwards(self, parsed_args: argparse.Namespace) -> int:
        """Tell persons what is not as it should be."""
        age = self.app.lineage.age()
        if age is not None and age.stopped:
            self.say(str(errors.DatabaseOutdated(reason=age.stopped)))
        if not any(manager.workers for manager in self._found):
            self.say(
                'No manager is recorded: none of this release was started.'
                if parsed_args.all
                else 'No manager runs; --all shows those that were stopped.'
            )
            return app.NOT_FOUND
        if parsed_args.formatter == 'table':
            for problem in _problems(self._found):
                self.say(problem)
        for brake in _engaged(self.app.lineage):
            since = columns.moment(brake.engaged_at)
            self.say(
                f'The brake is engaged since {since}: {brake.reason}. Nothing '
                'is removed for being missing until "rbdcloner-manage service '
                'release-brake", or until it is back.'
            )
        return 0


class ReleaseBrake(app.OfManage, command.Command):
    """Let what is missing end, however much it is.

    The brake is engaged when a look finds too much missing in Ceph or Glance;
    "service list" says what. Before it is released, see that the pools are
    the right ones, and that Glance has all of its images: what is missing at
    the next look is taken for removed, and a pool that has another id than it
    had for the right one.
    """

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        """Release it."""
        engaged = _engaged(self.app.lineage)
        self.app.lineage.release_brakes()
        for brake in engaged:
            self.say(f'The brake is released: {brake.reason}.')
        if not engaged:
            self.say('No brake is engaged.')


def _engaged(lineage: Lineage) -> list[Brake]:
    return [brake for brake in lineage.brakes() if not brake.released]


def _count(manager: Manager, wanted: Condition) -> int:
    return list(map(roster.condition, manager.workers)).count(wanted)


def _workers(manager: Manager) -> str:
    return ', '.join(
        f'{number} {condition}'
        for condition in Condition
        if (number := _count(manager, condition))
    )


def _several(texts: Sequence[str]) -> str:
    return ', '.join(dict.fromkeys(texts))


def _seen(manager: Manager) -> str:
    worker = manager.last_seen
    if worker is None:
        return ''
    return f'{columns.duration(worker.looked_at - worker.seen_at)} ago'


def _seen_at(manager: Manager) -> str:
    worker = manager.last_seen
    return columns.moment(worker.seen_at) if worker else ''


def _clock(manager: Manager) -> str:
    return f'{manager.clock_offset_ms / 1000:+.2f} s'


def _worker(worker: Worker) -> dict[str, Any]:
    return {
        'owner': worker.owner,
        'pid': worker.pid,
        'state': str(roster.condition(worker)),
        'version': worker.version,
        'rpc_version': worker.rpc_version,
        'clock_offset_ms': worker.clock_offset_ms,
        'addresses': list(worker.addresses),
        'started_at': columns.moment(worker.started_at),
        'seen_at': columns.moment(worker.seen_at),
        'stopped_at': columns.moment(worker.stopped_at),
        'shut_out_at': columns.moment(worker.shut_out_at),
    }


def _problems(managers: Sequence[Manager]) -> list[str]:
    living = [m for m in managers if m.condition is Condition.UP]
    found = [
        f'{m.host} is {m.condition}, last seen {_seen_at(m)}: see its log.'
        for m in managers
        if m.condition in (Condition.DOWN, Condition.SHUT_OUT)
    ]
    for manager in living:
        off = datetime.timedelta(milliseconds=manager.clock_offset_ms)
        if abs(off).total_seconds() > presence.OFFSET_S:
            side = 'ahead of' if manager.clock_offset_ms > 0 else 'behind'
            found.append(
                f'The clock of {manager.host} is '
                f"{columns.duration(abs(off))} {side} the database's: see "
                'that NTP keeps both.'
            )
    if len({version for m in living for version in m.versions()}) > 1:
        found.append('Managers have different versions: end the upgrade.')
    return found
