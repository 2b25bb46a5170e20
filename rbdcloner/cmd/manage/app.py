# SPDX-License-Identifier: Apache-2.0
"""What all commands of rbdcloner-manage share: options, database, the end."""

import argparse
from collections.abc import Callable
import functools
import logging
import os
import socket
from typing import Any
from typing import NoReturn

from cliff import app
from cliff import command
from cliff import commandmanager
from oslo_config import cfg

import rbdcloner
from rbdcloner import conf as options
from rbdcloner import errors
from rbdcloner.cloning.image_release import ImageRelease
from rbdcloner.cmd import explanation
from rbdcloner.cmd.manage import watching
from rbdcloner.db import engine
from rbdcloner.db import migration
from rbdcloner.db.lineage import Lineage
from rbdcloner.model import CloneFormat

EXIT_CODES = (
    'exit codes: 0 done, 1 refused or failed, 2 wrong usage, 3 not found'
)

NOT_FOUND = 3

_USAGE = 2
_NOT_FOUND_ERRORS = (
    errors.BaseNotFound,
    errors.DiskNotFound,
    errors.FlattenNotFound,
    errors.ImageNotFound,
)
_COMMANDS = 'rbdcloner.manage'


class Manage(app.App):
    """The program; its commands are entry points."""

    NAME = 'rbdcloner-manage'
    LOG = logging.getLogger(NAME)
    DEFAULT_VERBOSE_LEVEL = 0

    def __init__(self) -> None:
        super().__init__(
            description='Look after the lineage database of rbdcloner.',
            version=rbdcloner.__version__,
            command_manager=commandmanager.CommandManager(_COMMANDS),
            # Else --help after a command would not be about the command.
            deferred_help=True,
        )
        self._failure: BaseException | None = None

    def build_option_parser(
        self,
        description: str | None,
        version: str | None,
        argparse_kwargs: dict[str, Any] | None = None,
    ) -> argparse.ArgumentParser:
        """Add the options that OpenStack's commands have."""
        parser = super().build_option_parser(
            description, version, {'prog': self.NAME, 'epilog': EXIT_CODES}
        )
        for name, wanted in (('file', 'FILE'), ('dir', 'FOLDER')):
            parser.add_argument(
                f'--config-{name}',
                action='append',
                default=[],
                metavar=wanted,
                help='Read options from here; can be repeated. Default: '
                'where OpenStack services look (/etc/rbdcloner, …).',
            )
        return parser

    def configure_logging(self) -> None:
        """Let a message be one line, whatever is in it."""
        super().configure_logging()
        console = logging.getLogger().handlers[-1]
        console.setFormatter(_OneLine(self.CONSOLE_MESSAGE_FORMAT))

    def interact(self) -> NoReturn:
        """Refuse to be called without a command."""
        self.parser.print_usage(self.stderr)
        self.LOG.error('Say which command; see --help.')
        raise SystemExit(_USAGE)

    def run_subcommand(self, argv: list[str]) -> int:
        """Run it; what was not found has an exit code of its own."""
        code = super().run_subcommand(argv)
        if isinstance(self._failure, _NOT_FOUND_ERRORS):
            return NOT_FOUND
        return code

    def clean_up(
        self, cmd: command.Command, result: int, err: BaseException | None
    ) -> None:
        """Remember why the command failed: cliff only logs it."""
        self._failure = err

    @functools.cached_property
    def engine(self) -> Any:
        """The engine of the configured database; nothing is opened yet.

        :raises ConfigurationError: none is configured, or not rightly.
        """
        database = self.conf.database
        if not database.connection:
            raise errors.ConfigurationError(
                problem='No lineage database is configured',
                remedy='Set "connection" in [database], or say --config-file',
            )
        # Whoever runs a command tries again himself.
        return engine.connect(**{**database, 'max_retries': 0})

    @functools.cached_property
    def lineage(self) -> Lineage:
        """The lineage, in a database of this release's revision.

        :raises ConfigurationError: it must be synchronised before.
        """
        try:
            migration.check(self.engine)
        except errors.DatabaseRevision as exc:
            raise errors.ConfigurationError(
                problem=str(exc).rstrip('.'),
                remedy=f'Run "{self.NAME} db sync"',
            ) from exc
        return Lineage(self.engine)

    @functools.cached_property
    def image_release(self) -> ImageRelease:
        """What lets Glance images go, in the name of this process."""
        return ImageRelease(
            self.lineage,
            CloneFormat(self.conf.ceph.clone_format),
            f'{self.NAME}:{socket.gethostname()}:{os.getpid()}',
        )

    @functools.cached_property
    def conf(self) -> cfg.ConfigOpts:
        """The options of the files that were named, or found."""
        conf = cfg.ConfigOpts()
        options.register(conf)
        arguments = [
            f'--config-file={one}' for one in self.options.config_file
        ]
        arguments += [f'--config-dir={one}' for one in self.options.config_dir]
        options.load(conf, arguments)
        return conf


class OfManage:
    """What a command of this program has besides cliff's."""

    app: Any

    def afterwards(self, parsed_args: argparse.Namespace) -> int:
        """Do what is left when all was printed; the exit code."""
        return 0

    def say(self, text: str) -> None:
        """Tell a person something; programs read the standard output."""
        self.app.stderr.write(f'{text}\n')

    def watch(
        self, look: Callable[[], watching.Status], timeout_s: float
    ) -> bool:
        """Wait for the managers; as :func:`watching.watch`."""
        return watching.watch(look, self.app.stderr, timeout_s)

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return the command's parser, whose help keeps its paragraphs."""
        parser: argparse.ArgumentParser = super().get_parser(prog_name)  # type: ignore[misc]
        parser.formatter_class = argparse.RawDescriptionHelpFormatter
        return parser

    def get_epilog(self) -> str:
        """Tell the exit codes below the help of each command."""
        return EXIT_CODES

    def run(self, parsed_args: argparse.Namespace) -> int:
        """Run the command; say what to do about a database that is down."""
        inner: Any = super()
        try:
            return int(inner.run(parsed_args)) or self.afterwards(parsed_args)
        except errors.DatabaseUnavailable as exc:
            raise errors.ConfigurationError(
                problem=str(exc).rstrip('.'),
                remedy='See that it runs, and "connection" in [database]',
            ) from exc
        except (cfg.Error, ImportError, UnicodeError) as exc:
            raise RuntimeError(explanation.of(exc)) from exc


class _OneLine(logging.Formatter):
    """Messages on one line each; traces, which --debug asks for, as is."""

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        return text if record.exc_info else ' '.join(text.split())
