# SPDX-License-Identifier: Apache-2.0
"""A Glance that is broken in ways that a real one cannot be made to be."""

import contextlib
import http.server
import json
import os
import socket
import struct
import threading
import time

import pytest

from rbdcloner import errors
from rbdcloner.images import glance
from tests.unit.images import sessions

IMAGE_ID = '250ccb46-7d46-47f7-a2d9-9130db92e2c0'
IMAGE = {'id': IMAGE_ID, 'status': 'active', 'visibility': 'public'}
TIMEOUT_S = 0.4
SECRET = 'rbd://SECRET@host'


class Handler(http.server.BaseHTTPRequestHandler):
    """Lets the server's function write whatever it likes."""

    protocol_version = 'HTTP/1.1'

    def do_GET(self):
        self.server.asked.append(self.path)
        self.server.answer(self)

    do_POST = do_GET

    def log_message(self, *arguments):
        pass

    def send(self, body, status=200, kind='application/json', request_id=''):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header('Content-Length', str(len(data)))
        if kind:
            self.send_header('Content-Type', kind)
        if request_id:
            self.send_header('x-openstack-request-id', request_id)
        self.end_headers()
        self.wfile.write(data)


@contextlib.contextmanager
def serving(answer):
    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    server.daemon_threads = True
    server.answer, server.asked = answer, []
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    url = f'http://127.0.0.1:{server.server_port}'
    try:
        yield glance.Glance(*sessions.of(url, TIMEOUT_S)), server.asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def replying(body, status=200, kind='application/json', request_id=''):
    return lambda handler: handler.send(body, status, kind, request_id)


def reset(handler):
    linger = struct.pack('ii', 1, 0)
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    os.close(handler.connection.detach())
    handler.close_connection = True


def cut(handler):
    handler.wfile.write(b'HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"i')
    handler.close_connection = True


def half(handler):
    handler.wfile.write(b'HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"i')
    time.sleep(3 * TIMEOUT_S)


def silent(handler):
    time.sleep(3 * TIMEOUT_S)


def not_http(handler):
    handler.wfile.write(b'\x00\xff' * 70000)
    handler.close_connection = True


def circular(handler):
    handler.send_response(302)
    handler.send_header('Location', handler.path)
    handler.send_header('Content-Length', '0')
    handler.end_headers()


@pytest.mark.parametrize(
    ('answer', 'reason'),
    [
        (reset, 'no connection'),
        (cut, 'the connection broke'),
        (half, None),
        (silent, 'no answer in time'),
        (not_http, None),
        (circular, 'no connection'),
        (replying({'a': {'message': SECRET}}, 500), 'HTTP 500'),
        (replying({}, 503), 'HTTP 503'),
        (replying({}, 413), 'HTTP 413'),
        (replying({}, 300), 'HTTP 300'),
        (replying([], 500), None),
        (replying({'a': SECRET}, 502), None),
        (replying(b'x', 500, ''), None),
        (replying(b'\xff\xfe', 500, 'text/plain'), None),
        (replying(b'{', 500), None),
        (replying(b'{'), 'its answer makes no sense'),
        (replying(b''), 'its answer makes no sense'),
        (replying(b'[' * 100_000), 'its answer makes no sense'),
        (replying(b'\xff\xfe\x00'), 'its answer makes no sense'),
        (replying([]), 'its answer makes no sense'),
        (replying(SECRET), 'its answer makes no sense'),
        (replying(None), 'its answer makes no sense'),
        (replying(b'<html>', 200, 'text/html'), 'its answer makes no sense'),
        (
            replying(b'x', 200, 'application/octet-stream'),
            'its answer makes no sense',
        ),
        (replying({**IMAGE, 'id': SECRET}), 'its answer makes no sense'),
        (replying({**IMAGE, 'size': SECRET}), 'its answer makes no sense'),
    ],
)
def test_a_broken_glance_is_unavailable_soon_and_keeps_secrets(answer, reason):
    began = time.monotonic()
    with serving(answer) as (images, _asked):
        with pytest.raises(errors.GlanceUnavailable) as caught:
            images.get(IMAGE_ID)
        assert time.monotonic() - began < 2 * TIMEOUT_S
    assert 'SECRET' not in str(caught.value)
    assert len(str(caught.value)) < 80
    if reason:
        assert caught.value.kwargs['reason'] == reason


@pytest.mark.parametrize(
    ('status', 'error'),
    [
        (401, errors.GlanceForbidden),
        (403, errors.GlanceForbidden),
    ],
)
def test_a_refusal_is_named(status, error):
    body = {'error': {'message': SECRET}}
    with (
        serving(replying(body, status)) as (images, _asked),
        pytest.raises(error) as caught,
    ):
        images.get(IMAGE_ID)
    assert 'SECRET' not in str(caught.value)


@pytest.mark.parametrize(
    ('body', 'request_id', 'error'),
    [
        (f'No image found with ID {IMAGE_ID}', 'req-1', errors.ImageNotFound),
        (f'No image found with ID {IMAGE_ID}', '', errors.GlanceUnavailable),
        ('default backend - 404', '', errors.GlanceUnavailable),
        (
            'The resource could not be found.',
            'req-1',
            errors.GlanceUnavailable,
        ),
    ],
)
def test_404_counts_only_if_glance_names_the_image(body, request_id, error):
    page = f'<html><body>{body}</body></html>'.encode()
    answer = replying(page, 404, 'text/html', request_id)
    with serving(answer) as (images, _asked), pytest.raises(error):
        images.get(IMAGE_ID)


@pytest.mark.parametrize(
    'image_id',
    [
        '',
        '..',
        '../images',
        f'{IMAGE_ID}/../x',
        f'{IMAGE_ID}?a',
        f'{IMAGE_ID}\n',
        IMAGE_ID.replace('-', ''),
        f'{{{IMAGE_ID}}}',
        '%2e%2e',
        None,
        7,
        b'x',
    ],
)
def test_what_is_no_uuid_never_reaches_glance(image_id):
    with serving(replying(IMAGE)) as (images, asked):
        for ask in (images.get, images.image, images.members):
            with pytest.raises(errors.InvalidArgument):
                ask(image_id)
        assert asked == []


def by_path(locations, body=IMAGE):
    """Answer with the image, and for its locations with *locations*."""

    def answer(handler):
        if handler.path.endswith('/locations'):
            locations(handler)
        else:
            handler.send(body)

    return answer


@pytest.mark.parametrize('status', [400, 401, 403, 404, 405, 409, 501])
def test_a_glance_that_has_no_locations_for_us_is_not_asked_again(status):
    body = {**IMAGE, 'direct_url': 'rbd://direct'}
    refused = by_path(replying({}, status), body)
    with serving(refused) as (images, asked):
        for _ in range(3):
            found = images.get(IMAGE_ID).locations
            assert [location.url for location in found] == ['rbd://direct']
    assert len(asked) == 4


def test_a_remembered_refusal_never_hides_locations():
    answers = [
        replying({}, 403),
        replying([{'url': 'rbd://late', 'metadata': {}}]),
    ]
    changing = by_path(lambda handler: answers.pop(0)(handler))
    with serving(changing) as (images, _asked):
        assert images.get(IMAGE_ID).locations == ()
        assert images.get(IMAGE_ID).locations[0].url == 'rbd://late'


@pytest.mark.parametrize('broken', [replying({}, 500), replying({}), reset])
def test_locations_that_cannot_be_had_now_are_not_taken_for_none(broken):
    body = {**IMAGE, 'direct_url': 'rbd://direct'}
    with (
        serving(by_path(broken, body)) as (images, _asked),
        pytest.raises(errors.GlanceUnavailable),
    ):
        images.get(IMAGE_ID)


def test_an_image_without_data_is_one_request():
    with serving(replying({**IMAGE, 'status': 'queued'})) as (images, asked):
        assert images.get(IMAGE_ID).locations == ()
    assert asked == [f'/v2/images/{IMAGE_ID}']


def test_nobody_listens():
    with socket.create_server(('127.0.0.1', 0)) as listener:
        port = listener.getsockname()[1]
    images = glance.Glance(*sessions.of(f'http://127.0.0.1:{port}', 1))
    with pytest.raises(errors.GlanceUnavailable, match='no connection'):
        images.get(IMAGE_ID)
