# SPDX-License-Identifier: Apache-2.0
"""rbdcloner-status: whether this host is fit to run the service."""

import sys

from oslo_config import cfg
from oslo_upgradecheck import upgradecheck

from rbdcloner import conf as options
from rbdcloner.cmd import preflight


class Checks(upgradecheck.UpgradeCommands):
    """The checks that the manager makes when it starts, for administrators."""

    def _database(self) -> upgradecheck.Result:
        return _result(list(preflight.database_problems(cfg.CONF)))

    def _ceph(self) -> upgradecheck.Result:
        return _result(list(preflight.ceph_problems(cfg.CONF)))

    def _imports(self) -> upgradecheck.Result:
        return _result(list(preflight.import_problems(cfg.CONF)))

    _upgrade_checks = (
        ('Database', _database),
        ('Ceph', _ceph),
        ('Imports', _imports),
    )


def _result(problems: list[preflight.Problem]) -> upgradecheck.Result:
    if not problems:
        return upgradecheck.Result(upgradecheck.Code.SUCCESS)
    fatal = any(problem.fatal for problem in problems)
    return upgradecheck.Result(
        upgradecheck.Code.FAILURE if fatal else upgradecheck.Code.WARNING,
        '\n'.join(str(problem) for problem in problems),
    )


def main() -> int:
    """Run the checks; 0 for none wrong, 1 for a warning, 2 for a failure."""
    options.register(cfg.CONF)
    return upgradecheck.main(
        cfg.CONF, project='rbdcloner', upgrade_command=Checks()
    )


if __name__ == '__main__':
    sys.exit(main())
