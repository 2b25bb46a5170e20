# SPDX-License-Identifier: Apache-2.0
"""Listing what the managers do one by one, and what waits for that."""

import argparse
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import Generic

from cliff import lister

from rbdcloner.cmd.manage import finding
from rbdcloner.cmd.manage.app import OfManage
from rbdcloner.cmd.manage.finding import Row


class WorkList(OfManage, lister.Lister, Generic[Row]):
    """List what is not over; with --all what is, too."""

    brief: Mapping[str, Callable[[Any], Any]]
    full: Mapping[str, Callable[[Any], Any]]
    nothing: str
    """What to tell persons, for whom an empty table is no failure."""

    _listed = 0

    def rows(self, over: bool, marker: int) -> Iterator[Row]:
        """Yield the rows after the one with the ID *marker*, by ID."""
        raise NotImplementedError

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Add the page."""
        parser = super().get_parser(prog_name)
        parser.add_argument(
            '--all', action='store_true', help='also what is over'
        )
        finding.add_page(parser)
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[Sequence[str], Iterator[list[Any]]]:
        """Return the rows' values, read page by page."""
        found = finding.limited(
            self.rows(parsed_args.all, parsed_args.marker),
            parsed_args.limit,
            self.app.stderr,
        )
        shown = self.brief if parsed_args.formatter == 'table' else self.full
        return tuple(shown), (
            [value(row) for value in shown.values()]
            for row in self._counted(found)
        )

    def afterwards(self, parsed_args: argparse.Namespace) -> int:
        """Say so, where there is nothing."""
        whole = not (parsed_args.all or parsed_args.marker)
        if parsed_args.formatter == 'table' and whole and not self._listed:
            self.say(self.nothing)
        return 0

    def _counted(self, found: Iterator[Row]) -> Iterator[Row]:
        for row in found:
            self._listed += 1
            yield row
