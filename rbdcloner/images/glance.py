# SPDX-License-Identifier: Apache-2.0
"""What Glance says of an image, asked through python-glanceclient.

Glance shows an image's locations in three places, and to whom is policy:
to services (``GET /v2/images/{id}/locations``), in the image's ``locations``,
and in its ``direct_url``. They are tried in that order.
"""

from collections.abc import Iterator
import contextlib
import dataclasses
import re
import time
from typing import Any

from glanceclient import exc as glance_errors
from glanceclient.common import http
from keystoneauth1 import adapter as keystone_adapter
from keystoneauth1 import exceptions as keystone_errors
from keystoneauth1 import session as keystone_session
import requests

from rbdcloner import errors
from rbdcloner.images import answers
from rbdcloner.model import GlanceImage
from rbdcloner.model import GlanceLocation

# RFC 4122's text form, as Glance's image schema asks; nothing in it can
# change the path of a request.
_IMAGE_ID = re.compile('[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}')

# A Glance that refuses this service, or is too old, stays so for a while.
_REFUSED_S = 60

# What a download holds in memory at once, or a few times that.
_PIECE_BYTES = 1 << 20

# "I have it there", "I am at it", "I know no such store or method".
_NO_COPY = frozenset({400, 409})

# Enough of them to find one that is another project's.
_A_FEW = 100

# "Not for you" or "not here": the next place may do.
_NEXT_PLACE = frozenset({400, 401, 403, 404, 405, 409, 501})


class Glance:
    """One Glance, reached with one session; safe to use from many threads.

    *adapter* are keystoneauth's adapter arguments (``endpoint_override``,
    ``region_name``, ``connect_retries`` …); the timeout is the session's.
    """

    def __init__(
        self, session: keystone_session.Session, adapter: dict[str, Any]
    ) -> None:
        # Requests are made on the HTTP client: images.get() would ask for
        # the schema too, get_image_locations() for the versions each time.
        self._http = _Client(session, **adapter)
        # That one reads whole whatever is not called application/octet-stream.
        self._data = keystone_adapter.Adapter(session, **adapter)
        self._session = session
        self._refused_until = 0.0

    def get(self, image_id: str, project_id: str = '') -> GlanceImage:
        """Return the image, with its members if *project_id* may need them.

        One to three requests: for the image, for its locations unless
        Glance refused them within the last minute, and for the members.

        :raises InvalidArgument: *image_id* is not a uuid.
        :raises ImageNotFound: Glance itself said that it has no such image,
            or hides it: see :meth:`confirm_sight`.
        :raises GlanceForbidden: the service's credentials are refused.
        :raises GlanceUnavailable: no answer, or none that makes sense.
        """
        image = self.image(image_id)
        if not needs_members(image, project_id):
            return image
        return dataclasses.replace(image, members=self.members(image_id))

    def image(self, image_id: str) -> GlanceImage:
        """Return the image without its members; as :meth:`get`."""
        _check(image_id)
        with _translated(f'looking at image {image_id}', image_id):
            body = self._ask(f'/v2/images/{image_id}')
            image = answers.image(body, image_id)
            if image.status != 'active':
                return dataclasses.replace(image, locations=())
            return self._located(image)

    def confirm_sight(self) -> None:
        """Return if Glance shows this service the images of all projects.

        Only then does :class:`~rbdcloner.errors.ImageNotFound` say anything
        of an image. Proof is a private image of another project; where there
        is none, Glance is asked for what it tells its administrators alone.

        :raises GlanceHidesImages: there is no such proof.
        :raises GlanceForbidden: the service's credentials are refused.
        :raises GlanceUnavailable: no answer, or none that makes sense.
        """
        with _translated('listing images', ''):
            body = self._ask(f'/v2/images?visibility=private&limit={_A_FEW}')
            owners = answers.owners(body)
            own = self._session.get_project_id() or ''
            # Without its own project known, one of two is another's.
            if len(owners - {own}) > (0 if own else 1):
                return
            self._confirm_administrator()

    def sample(self) -> str:
        """Return the id of an active image, another project's if there is one.

        Empty without an active image; as :meth:`confirm_sight`.
        """
        with _translated('listing images', ''):
            for visibility in ('private', 'public'):
                body = self._ask(
                    f'/v2/images?visibility={visibility}&status=active&limit=1'
                )
                if found := answers.ids(body):
                    return found[0]
        return ''

    def roles(self) -> str:
        """Return the roles of the service's token; empty where it has none.

        :raises GlanceForbidden: Keystone refuses the service's credentials.
        :raises GlanceUnavailable: Keystone gave no token.
        """
        with _translated('getting a token', ''):
            access = getattr(self._session.auth, 'get_access', None)
            if access is None:
                return ''
            return ', '.join(sorted(access(self._session).role_names))

    def _confirm_administrator(self) -> None:
        """Ask for what Glance shows to who sees all images, by its policy.

        Rejected: the details of its stores, which the role service may see.
        """
        try:
            self._ask('/v2/tasks?limit=1')
        except glance_errors.HTTPException as exc:
            if exc.code not in _NEXT_PLACE:
                raise
            raise errors.GlanceHidesImages() from exc

    def members(self, image_id: str) -> frozenset[str]:
        """Return whom the image is shared with; as :meth:`get`."""
        _check(image_id)
        with _translated(f'listing who shares image {image_id}', image_id):
            return answers.members(self._ask(f'/v2/images/{image_id}/members'))

    @contextlib.contextmanager
    def download(self, image_id: str) -> Iterator[Iterator[bytes]]:
        """Give the image's data in pieces of up to 1 MiB, as Glance sends it.

        What the pieces raise, too, is one of the errors below. Nothing is
        asked for twice: half of an image is not continued. The connection
        is closed with the context, read to its end or not. Whether it was
        all is for :mod:`rbdcloner.images.verification` to say.

        :raises InvalidArgument: *image_id* is not a uuid.
        :raises ImageNotFound: Glance has no such image, or hides it.
        :raises ImageDataMissing: Glance has the image, without data.
        :raises GlanceForbidden: the service's credentials are refused.
        :raises GlanceUnavailable: no answer, a broken connection, or nothing
            for as long as the session's timeout.
        """
        _check(image_id)
        act = f'downloading image {image_id}'
        with _translated(act, image_id):
            response = self._open(image_id)
        with contextlib.closing(response):
            pieces = response.iter_content(_PIECE_BYTES)
            yield _each_translated(pieces, act, image_id)

    def copy_to(self, image_id: str, store: str) -> bool:
        """Have Glance copy the image to *store*, which takes its time.

        Soon the image's ``copying_to`` has the store, and in the end its
        ``stores`` or its ``not_copied_to``; none of them if Glance dies.
        Returns whether Glance began; else the image says why: it is there,
        or on its way, or Glance knows no such store or does not copy.

        :raises InvalidArgument: *image_id* is not a uuid.
        :raises ImageNotFound: Glance has no such image, or hides it.
        :raises GlanceForbidden: the service's credentials are refused.
        :raises GlanceUnavailable: no answer; Glance may have begun.
        """
        _check(image_id)
        wanted = {'method': {'name': 'copy-image'}, 'stores': [store]}
        with _translated(f'copying image {image_id}', image_id):
            try:
                self._http.post(f'/v2/images/{image_id}/import', data=wanted)
            except glance_errors.HTTPException as exc:
                if exc.code not in _NO_COPY:
                    raise
                return False
        return True

    def _open(self, image_id: str) -> requests.Response:
        """Ask for the data, as it is: what is packed is bounded by nothing."""
        response = self._data.get(
            f'/v2/images/{image_id}/file',
            headers={
                'Accept': 'application/octet-stream',
                'Accept-Encoding': 'identity',
            },
            stream=True,
            raise_exc=False,
        )
        if response.status_code == 200 and (
            response.headers.get('Content-Encoding', 'identity') == 'identity'
        ):
            return response
        response.close()
        if response.status_code == 204:
            # Its store has lost it.
            raise errors.ImageDataMissing(image_id=image_id)
        if response.status_code >= 400:
            raise glance_errors.from_response(response)
        raise ValueError('not the data that was asked for')

    def _located(self, image: GlanceImage) -> GlanceImage:
        """Prefer what Glance tells services to what stands in the image.

        A refusal that is remembered counts only where the image itself has
        locations: whatever happens, none that can be had is missed.
        """
        if image.locations and time.monotonic() < self._refused_until:
            return image
        found = self._for_services(image.id)
        return dataclasses.replace(image, locations=found or image.locations)

    def _for_services(self, image_id: str) -> tuple[GlanceLocation, ...]:
        try:
            body = self._ask(f'/v2/images/{image_id}/locations')
        except glance_errors.HTTPException as exc:
            if exc.code not in _NEXT_PLACE:
                raise
            self._refused_until = time.monotonic() + _REFUSED_S
            return ()
        return answers.locations(body)

    def _ask(self, path: str) -> Any:
        _response, body = self._http.get(path)
        return body


class _Client(http.SessionClient):
    """python-glanceclient's, but a 404 counts only if Glance sent it."""

    def _handle_response(self, resp: requests.Response) -> Any:
        if resp.status_code == 404 and not _is_glances(resp):
            raise _ForeignNotFound
        return super()._handle_response(resp)


class _ForeignNotFound(glance_errors.HTTPNotFound):
    """Something on the way to Glance answered 404: an ingress, say."""


def _is_glances(response: requests.Response) -> bool:
    """Tell whether Glance itself said that it has not what was asked for.

    It numbers its answers, and names the image.
    """
    numbered = response.headers.get('x-openstack-request-id', '')
    asked = _IMAGE_ID.search(response.request.path_url)
    named = asked is None or asked.group() in response.text
    return bool(numbered) and named


def needs_members(image: GlanceImage, project_id: str) -> bool:
    """Tell whether only its members decide if *project_id* may use *image*."""
    return (
        bool(project_id)
        and image.visibility == 'shared'
        and image.owner != project_id
    )


def _check(image_id: str) -> None:
    if not isinstance(image_id, str) or not _IMAGE_ID.fullmatch(image_id):
        raise errors.InvalidArgument(
            argument='image_id', reason='it is not a uuid'
        )


def _each_translated(
    pieces: Iterator[bytes], act: str, image_id: str
) -> Iterator[bytes]:
    """Give the pieces; what their user raises meanwhile is left alone."""
    while True:
        with _translated(act, image_id):
            piece = next(pieces, None)
        if piece is None:
            return
        yield piece


@contextlib.contextmanager
def _translated(act: str, image_id: str) -> Iterator[None]:
    """Raise what the libraries raise as this service's errors.

    Their messages are left behind: they may hold urls, bodies and tokens.
    Anything that an answer can break in them (python-glanceclient takes
    error bodies apart unchecked) means that it made no sense.
    """
    try:
        yield
    except _ForeignNotFound as exc:
        raise errors.GlanceUnavailable(
            reason='HTTP 404, but not from Glance'
        ) from exc
    except glance_errors.HTTPNotFound as exc:
        raise errors.ImageNotFound(image_id=image_id) from exc
    except (
        glance_errors.HTTPUnauthorized,
        glance_errors.HTTPForbidden,
        keystone_errors.Unauthorized,
        keystone_errors.Forbidden,
    ) as exc:
        raise errors.GlanceForbidden(act=act) from exc
    except (
        glance_errors.BaseException,
        glance_errors.ClientException,
        keystone_errors.ClientException,
        requests.RequestException,
        AttributeError,
        LookupError,
        OSError,
        RecursionError,
        TypeError,
        ValueError,
    ) as exc:
        raise errors.GlanceUnavailable(reason=_reason(exc)) from exc


_REASONS: tuple[tuple[type[BaseException], str], ...] = (
    (glance_errors.InvalidEndpoint, 'no answer in time'),
    (keystone_errors.ConnectTimeout, 'no answer in time'),
    (requests.Timeout, 'no answer in time'),
    (glance_errors.CommunicationError, 'no connection'),
    (keystone_errors.ConnectionError, 'no connection'),
    (requests.JSONDecodeError, 'its answer makes no sense'),
    (requests.RequestException, 'the connection broke'),
    (keystone_errors.EndpointNotFound, 'the catalog has no image endpoint'),
    (keystone_errors.CatalogException, 'the catalog has no image endpoint'),
    (keystone_errors.HttpError, 'Keystone failed'),
    (keystone_errors.ClientException, 'Keystone gave no token'),
)


def _reason(exc: BaseException) -> str:
    if isinstance(exc, glance_errors.HTTPException):
        return f'HTTP {exc.code}'
    for error, reason in _REASONS:
        if isinstance(exc, error):
            return reason
    return 'its answer makes no sense'
