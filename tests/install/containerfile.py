# SPDX-License-Identifier: Apache-2.0
"""A Containerfile, read strictly, and its steps carried out in bare roots.

There is no container engine where the tests run. What is not among the
instructions below is an error, so that nothing in the file goes untested.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
import re
import shlex
import string
import subprocess

from tests.install import root

_KNOWN = frozenset(
    ('ARG', 'FROM', 'RUN', 'COPY', 'ENV', 'LABEL', 'WORKDIR', 'USER')
) | {'ENTRYPOINT'}
_ASSIGNMENT = re.compile(r'([\w.]+)=("[^"]*"|\S+)\s*')


@dataclasses.dataclass(frozen=True)
class Step:
    """An instruction and its argument, on one line."""

    instruction: str
    argument: str


@dataclasses.dataclass(frozen=True)
class Stage:
    """An image, by name if it has one, made from another by steps."""

    image: str
    name: str
    steps: tuple[Step, ...]

    def last(self, instruction: str) -> str:
        """Return the argument of the last step of that kind."""
        return [
            one.argument
            for one in self.steps
            if one.instruction == instruction
        ][-1]


def parse(text: str, arguments: dict[str, str]) -> list[Stage]:
    """Return the stages; *arguments* replace the defaults of ARG.

    :raises AssertionError: a line is none that a Containerfile may have
    """
    stages: list[Stage] = []
    values: dict[str, str] = {}
    for step in _steps(text):
        if step.instruction == 'ARG':
            assert not stages, 'ARG within a stage'
            (name, default), *others = assignments(step.argument).items()
            assert not others, step
            values[name] = arguments.get(name, default)
        elif step.instruction == 'FROM':
            stages.append(_stage(step, values))
        else:
            stages[-1] = dataclasses.replace(
                stages[-1], steps=(*stages[-1].steps, step)
            )
    assert not arguments.keys() - values.keys(), 'no such ARG'
    return stages


def _steps(text: str) -> list[Step]:
    lines = [one for one in text.split('\n') if not re.match(r'\s*#', one)]
    joined = re.sub(r'\\\n\s*', '', '\n'.join(lines))
    steps = []
    for line in filter(str.strip, joined.split('\n')):
        found = re.fullmatch(r'([A-Z]+) (\S.*)', line)
        assert found and found[1] in _KNOWN, f'unknown: {line}'
        steps.append(Step(found[1], found[2]))
    return steps


def _stage(step: Step, values: dict[str, str]) -> Stage:
    argument = string.Template(step.argument).substitute(values)
    found = re.fullmatch(r'(\S+)(?: AS (\w+))?', argument)
    assert found, step
    return Stage(found[1], found[2] or '', ())


def assignments(text: str) -> dict[str, str]:
    """Return what ``KEY=value KEY="a value"`` sets.

    :raises AssertionError: it is not of that form
    """
    assert re.fullmatch(f'(?:{_ASSIGNMENT.pattern})+', text), text
    return {
        found[1]: found[2].strip('"') for found in _ASSIGNMENT.finditer(text)
    }


class Build:
    """A stage's root, while its steps are carried out."""

    def __init__(
        self,
        where: root.Root,
        context: pathlib.Path,
        others: dict[str, root.Root],
    ) -> None:
        self._root = where
        self._context = context
        self._others = others
        self._env: dict[str, str] = {}
        self._folder = '/'

    def carry_out(self, stage: Stage) -> None:
        """Do every step of the stage.

        :raises AssertionError: one failed, or cannot be carried out
        """
        for step in stage.steps:
            carry_out = getattr(self, f'_do_{step.instruction.lower()}')
            carry_out(step.argument)

    def _do_run(self, command: str) -> None:
        shell = self._root.shell(self._env)
        shell.run(f'cd {self._folder}\nsh -c {shlex.quote(command)}\n')
        shell.close()

    def _do_copy(self, argument: str) -> None:
        found = re.fullmatch(r'(?:--from=(\w+) )?(\S+) (/\S+)', argument)
        assert found, argument
        stage, source, target = found.groups()
        if stage:
            origin = self._others[stage].path(source)
        else:
            origin = self._context / source
        path = self._root.path(target)
        path.mkdir(parents=True)
        subprocess.run(
            ['cp', '-a', '--no-preserve=ownership', f'{origin}/.', path],
            check=True,
        )

    def _do_env(self, argument: str) -> None:
        self._env |= assignments(argument)

    def _do_workdir(self, folder: str) -> None:
        self._root.path(folder).mkdir(parents=True, exist_ok=True)
        self._folder = folder

    def _do_label(self, argument: str) -> None:
        assignments(argument)

    def _do_user(self, argument: str) -> None:
        assert re.fullmatch(r'\d+:\d+', argument), argument

    def _do_entrypoint(self, argument: str) -> None:
        (program,) = json.loads(argument)
        assert self._root.path(program).exists(), program
