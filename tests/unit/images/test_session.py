# SPDX-License-Identifier: Apache-2.0
"""Group [glance] becomes a session, or is refused with a remedy."""

import pytest

from rbdcloner import errors
from rbdcloner.images import session
from tests.unit.images import sessions


def test_the_timeout_is_finite_unless_somebody_asks_for_more():
    made, arguments = sessions.of('http://127.0.0.1:1', None)
    assert made.timeout is None
    conf = sessions.configured(auth_type='none')
    made, arguments = session.load(conf)
    assert 0 < made.timeout < 30
    assert arguments['service_type'] == 'image'
    assert arguments['connect_retries'] == 1


@pytest.mark.parametrize(
    'url',
    [
        'http://h/image',
        'http://h/image/v2',
        'http://h/image/v2/',
        'http://h/image/v2.18',
    ],
)
def test_an_endpoint_may_be_given_with_its_version(url):
    _made, arguments = sessions.of(url, 1)
    assert arguments['endpoint_override'] == 'http://h/image'


@pytest.mark.parametrize(
    'options',
    [
        {},
        {'auth_type': 'password'},
        {'auth_type': 'unheard-of'},
        {'auth_type': 'none', 'valid_interfaces': ['odd']},
        {'auth_type': 'none', 'version': '2', 'min_version': '2'},
    ],
)
def test_what_cannot_work_is_refused_with_a_remedy(options):
    with pytest.raises(errors.ConfigurationError, match=r'\[glance\]'):
        session.load(sessions.configured(**options))


def test_the_sample_shows_each_option_once():
    ((group, options),) = session.list_opts()
    names = [option.dest for option in options]
    assert group == 'glance'
    assert {'timeout', 'auth_url', 'endpoint_override'} <= set(names)
    assert len(names) == len(set(names))


def test_options_of_another_section_are_followed(tmp_path):
    path = tmp_path / 'a.conf'
    path.write_text(
        '[glance]\nauth_section = keystone\n[keystone]\n'
        'auth_type = password\nauth_url = http://127.0.0.1:1\n'
        'username = rbdcloner\npassword = x\n'
    )
    conf = sessions.configured()
    conf([], default_config_files=[str(path)])
    made, _arguments = session.load(conf)
    assert made.auth.auth_url == 'http://127.0.0.1:1'
