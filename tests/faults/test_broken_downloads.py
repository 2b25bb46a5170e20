# SPDX-License-Identifier: Apache-2.0
"""Downloads and copies from a Glance that no real one can be made to be."""

import time

import pytest

from rbdcloner import errors
from tests.faults import test_broken_glance as broken
from tests.faults.test_broken_glance import IMAGE_ID
from tests.faults.test_broken_glance import SECRET
from tests.faults.test_broken_glance import replying
from tests.faults.test_broken_glance import serving

DATA = 'application/octet-stream'
PIECE_BYTES = 1 << 20
#: As Glance words it: its 404 counts only if it names the image.
REFUSAL = {'error': {'message': f'{IMAGE_ID}: {SECRET}'}}


def whole(images):
    with images.download(IMAGE_ID) as pieces:
        return b''.join(pieces)


def begun(handler, size_bytes=99, *headers):
    lines = ['HTTP/1.1 200 OK', f'Content-Type: {DATA}', *headers]
    lines += [f'Content-Length: {size_bytes}', '', '']
    handler.wfile.write('\r\n'.join(lines).encode())


def cut(handler):
    begun(handler)
    handler.wfile.write(b'half of it')
    handler.close_connection = True


def stalled(handler):
    begun(handler)
    handler.wfile.write(b'half of it')
    handler.wfile.flush()
    time.sleep(60)


def cut_in_a_chunk(handler):
    head = f'HTTP/1.1 200 OK\r\nContent-Type: {DATA}\r\n'
    handler.wfile.write(f'{head}Transfer-Encoding: chunked\r\n\r\n'.encode())
    handler.wfile.write(b'99\r\nhalf of it')
    handler.close_connection = True


def packed(handler):
    begun(handler, 4, 'Content-Encoding: gzip')
    handler.wfile.write(b'\x1f\x8b\x08\x00')


def empty(handler):
    handler.send_response(204)
    handler.end_headers()


@pytest.mark.parametrize('kind', [DATA, 'text/html', 'application/json', ''])
def test_data_is_data_whatever_glance_calls_it(kind):
    data = b'{"a": 1}' * PIECE_BYTES
    with serving(replying(data, 200, kind)) as (images, asked):
        with images.download(IMAGE_ID) as pieces:
            sizes = [len(piece) for piece in pieces]
        assert sizes == [PIECE_BYTES] * 8
        assert whole(images) == data
    assert asked == [f'/v2/images/{IMAGE_ID}/file'] * 2


@pytest.mark.parametrize(
    ('answer', 'reason'),
    [
        (broken.reset, 'no connection'),
        (broken.silent, 'no answer in time'),
        (broken.circular, 'no connection'),
        (cut, 'the connection broke'),
        (cut_in_a_chunk, 'the connection broke'),
        (stalled, 'the connection broke'),
        (packed, 'its answer makes no sense'),
        (replying(b'x', 206, DATA), 'its answer makes no sense'),
        (replying({'a': SECRET}, 300), 'its answer makes no sense'),
        (replying({'a': SECRET}, 500), 'HTTP 500'),
        (replying({'a': SECRET}, 503), 'HTTP 503'),
        (replying(b'\xff' * PIECE_BYTES, 502, DATA), 'HTTP 502'),
    ],
)
def test_what_is_not_the_data_is_no_answer_soon(answer, reason):
    began = time.monotonic()
    with serving(answer) as (images, asked):
        with pytest.raises(errors.GlanceUnavailable) as caught:
            whole(images)
        assert time.monotonic() - began < 30
        assert len(asked) == 1 or answer is broken.circular
    assert caught.value.kwargs == {'reason': reason}


def test_download_without_data_is_named():
    with (
        serving(empty) as (images, asked),
        pytest.raises(errors.ImageDataMissing) as caught,
    ):
        whole(images)
    assert caught.value.kwargs == {'image_id': IMAGE_ID}
    assert len(asked) == 1


@pytest.mark.parametrize(
    ('status', 'error'),
    [
        (401, errors.GlanceForbidden),
        (403, errors.GlanceForbidden),
        (404, errors.ImageNotFound),
    ],
)
def test_a_refused_download_or_copy_is_named(status, error):
    refusing = replying(REFUSAL, status, request_id='req-1')
    with serving(refusing) as (images, _asked):
        for ask in (whole, lambda images: images.copy_to(IMAGE_ID, 'fast')):
            with pytest.raises(error) as caught:
                ask(images)
            assert 'SECRET' not in str(caught.value)


def test_what_the_pieces_are_used_for_may_fail_as_itself():
    with (
        serving(replying(b'x', 200, DATA)) as (images, _asked),
        pytest.raises(OSError, match='of the disk'),
        images.download(IMAGE_ID) as pieces,
    ):
        for _piece in pieces:
            raise OSError('of the disk')


def test_a_download_that_is_left_costs_no_more():
    sent = []

    def endless(handler):
        begun(handler, PIECE_BYTES << 20)
        try:
            while True:
                handler.wfile.write(bytes(PIECE_BYTES))
                sent.append(PIECE_BYTES)
        except OSError:
            sent.append('closed')
        handler.close_connection = True

    with serving(endless) as (images, _asked):
        with images.download(IMAGE_ID) as pieces:
            next(pieces)
        deadline = time.monotonic() + 30
        while sent[-1:] != ['closed'] and time.monotonic() < deadline:
            time.sleep(0.01)
    assert sent[-1] == 'closed'
    assert len(sent) < 64


def test_what_is_no_uuid_is_neither_downloaded_nor_copied():
    with serving(replying(b'x')) as (images, asked):
        for image_id in ('', f'{IMAGE_ID}/../x', None):
            with (
                pytest.raises(errors.InvalidArgument),
                images.download(image_id),
            ):
                pass
            with pytest.raises(errors.InvalidArgument):
                images.copy_to(image_id, 'fast')
        assert asked == []


@pytest.mark.parametrize(
    ('status', 'began'), [(202, True), (400, False), (409, False)]
)
def test_a_copy_is_begun_or_not(status, began):
    with serving(replying({}, status)) as (images, asked):
        assert images.copy_to(IMAGE_ID, 'fast') is began
    assert asked == [f'/v2/images/{IMAGE_ID}/import']


def test_a_copy_that_nobody_answered_for_is_unknown():
    with (
        serving(broken.silent) as (images, _asked),
        pytest.raises(errors.GlanceUnavailable, match='in time'),
    ):
        images.copy_to(IMAGE_ID, 'fast')
