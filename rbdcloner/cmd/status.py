# SPDX-License-Identifier: Apache-2.0
"""rbdcloner-status: whether this host is fit to run the service."""

from collections.abc import Callable
from collections.abc import Iterable

from oslo_config import cfg
from oslo_upgradecheck import upgradecheck

from rbdcloner import conf as options
from rbdcloner.cmd import explanation
from rbdcloner.cmd import preflight


class Checks(upgradecheck.UpgradeCommands):
    """The checks that the manager makes when it starts, for administrators."""

    def _configuration(self) -> upgradecheck.Result:
        return _result(preflight.configuration_problems)

    def _database(self) -> upgradecheck.Result:
        return _result(preflight.database_problems)

    def _broker(self) -> upgradecheck.Result:
        return _result(preflight.broker_problems)

    def _ceph(self) -> upgradecheck.Result:
        return _result(preflight.ceph_problems)

    def _lineage(self) -> upgradecheck.Result:
        return _result(preflight.generation_problems)

    def _glance(self) -> upgradecheck.Result:
        return _result(preflight.glance_problems)

    def _imports(self) -> upgradecheck.Result:
        return _result(preflight.import_problems)

    _upgrade_checks = (
        ('Configuration', _configuration),
        ('Database', _database),
        ('RabbitMQ', _broker),
        ('Ceph', _ceph),
        ('Lineage', _lineage),
        ('Glance', _glance),
        ('Imports', _imports),
    )


def _result(
    check: Callable[[cfg.ConfigOpts], Iterable[preflight.Problem]],
) -> upgradecheck.Result:
    try:
        problems = list(check(cfg.CONF))
    except Exception as exc:
        # oslo.upgradecheck would print a traceback.
        return upgradecheck.Result(
            upgradecheck.Code.FAILURE, explanation.of(exc)
        )
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
