# SPDX-License-Identifier: Apache-2.0
"""Every error of the service; a class's docstring is its message.

A message says what is wrong, with which object, and what to do next. Facts
are named and JSON-plain, so that an error crosses RPC as itself:
``NameTaken(pool='vms', name='a_disk')``. The module's name crosses RPC with
it, which is why there is one module for all errors.
"""

from collections.abc import Mapping
from collections.abc import Sequence
import string
from typing import Any
from typing import ClassVar

from rbdcloner import sizes


class Error(Exception):
    """An operation of rbdcloner failed."""

    #: The same request may succeed later without anybody's help.
    retryable: ClassVar[bool] = False

    def __init__(self, **facts: Any) -> None:
        # No positional arguments: oslo.messaging rebuilds a remote error as
        # type(*args, **kwargs).
        super().__init__()
        self.kwargs = facts

    def __str__(self) -> str:
        return _MESSAGES.vformat(type(self).__doc__ or '', (), self.kwargs)

    @property
    def name(self) -> str:
        """The error's name, as callers, logs and metrics see it."""
        return type(self).__name__


_DIFFERING = ('asked', 'recorded')


class _Messages(string.Formatter):
    """Fills facts into a message as people read them.

    A number of bytes, whose name ends in ``_bytes``, has a unit; a list is
    enumerated. An error of another release may lack a fact: it is unknown.
    """

    def get_value(
        self, key: int | str, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> Any:
        if key not in kwargs:
            return '(unknown)'
        value = kwargs[str(key)]
        if isinstance(value, list):
            return ', '.join(map(str, value)) or '(unknown)'
        # What differs may be a number of bytes, too.
        measured = kwargs.get('field') if key in _DIFFERING else key
        if str(measured).endswith('_bytes') and isinstance(value, int):
            return sizes.exact(value)
        return '(none)' if value in (None, '') else value


_MESSAGES = _Messages()


# Errors that reach callers
#
# Whatever the RPC server does for a caller may raise these, and so may the
# client on the caller's side.


class InvalidArgument(Error):
    """Argument {argument} is not valid: {reason}."""


class InternalError(Error):
    """Request {request} failed unexpectedly. The log of rbdcloner-manager has the cause under this request ID."""


class ConfigurationError(Error):
    """{problem}. {remedy}."""


# Images in Glance


class ImageError(Error):
    """The image cannot be used."""


class ImageNotFound(ImageError):
    """Glance has no image {image_id}. Check the image ID."""


class ImageNotActive(ImageError):
    """Image {image_id} has status {status}, and only active images can be used. Wait until the image is active, or choose another image."""


class ImageHidden(ImageError):
    """Image {image_id} is hidden. Choose another image, or upgrade rbdcloner-manager."""

    # Only managers of the release before answer that.


class ImageForbidden(ImageError):
    """Image {image_id} is not available to project {project_id}. Share the image with the project, or choose another image."""


class ImageNotCloneable(ImageError):
    """Image {image_id} cannot be cloned: {summary}. Upload the image in raw format to this Ceph cluster, or allow its import."""


class ImageLargerThanDisk(ImageError):
    """Image {image_id} has {image_bytes}, but the disk has only {size_bytes}. Choose a larger disk."""


class ImageDamaged(ImageError):
    """Image {image_id} lost {snapshot}, and its data may have changed since. Upload the image again."""


class ImageUnfit(ImageError):
    """The data of the image cannot be imported."""


class FormatUnsupported(ImageUnfit):
    """Image {image_id} has disk format {format}, which cannot be imported. Convert the image, for example to qcow2."""


class ContainerUnsupported(ImageUnfit):
    """Image {image_id} has container format {container}, which cannot be imported. Upload the image with container format bare."""


class ImageEmpty(ImageUnfit):
    """Image {image_id} has no data: its size is 0 bytes. Upload the image again."""


class ImageImporting(ImageError):
    """Image {image_id} is being imported: {done_bytes} of {total_bytes} are done (import: {waits}). Retry the request. To see the import, run "rbdcloner-manage base show {image_id}"."""

    # ``waits`` is "running", "queued", "blocked" until an administrator acts,
    # or why the last attempt failed. Two more facts are for a caller that
    # retries: ``beat``, a token that changes with any progress, and
    # ``again_s``, after how many seconds to retry.
    retryable = True


class ImportRefused(ImageError):
    """Image {image_id} is not imported: {reason}. Correct the cause, then run "rbdcloner-manage base import {image_id}"."""


class GlanceUnavailable(Error):
    """Glance did not answer: {reason}. Check that Glance runs, then retry."""

    retryable = True


class GlanceForbidden(Error):
    """Glance refused the credentials of rbdcloner for {act}. Check the user and its roles in [glance]."""


# Disks


class DiskNotFound(Error):
    """There is no disk {name} in pool {pool}. Check the name and the pool."""


class DiskExists(Error):
    """Disk {name} already exists in pool {pool}. Delete the disk, or choose another name."""


class DiskImageMissing(Error):
    """RBD image {image_id} of disk {name} in pool {pool} is {found}. Give the image its name back with "rbd rename" or "rbd trash restore -p {pool} {image_id}", or delete the disk."""

    # ``found`` is "renamed to NAME", "in the trash", or "missing".


class DiskDiffers(Error):
    """Disk {name} in pool {pool} exists with {field} {recorded}, but {asked} was requested. Delete the disk, or request it as it is."""


class RequestOutdated(Error):
    """The request to change {name} in pool {pool} is outdated: request {later} came later. Send a new request."""


class CreationOutdated(RequestOutdated):
    """The request to create {name} in pool {pool} is outdated: deletion {later} came later. Send a new request."""


class NameTaken(Error):
    """Pool {pool} already has another image {name}, which rbdcloner did not make as this disk. Rename or remove that image, or choose another name."""


class DiskBusy(Error):
    """Disk {name} in pool {pool} is {state}, and another request works on the disk. Retry the request."""

    retryable = True


class DiskInUse(Error):
    """Disk {name} in pool {pool} is open at {watchers}. Stop the client there, then retry."""

    retryable = True


class RollbackAbandoned(Error):
    """The rollback of disk {name} in pool {pool} was abandoned: {reason}. Check the file systems of the disk, or request the rollback again."""


class DiskSnapshotNotFound(Error):
    """Disk {name} in pool {pool} has no snapshot {snapshot}. Check the name of the snapshot."""


class DiskSnapshotExists(Error):
    """Disk {name} in pool {pool} already has another snapshot {snapshot}. Remove that snapshot first."""


class DiskSnapshotInUse(Error):
    """Snapshot {snapshot} of disk {name} in pool {pool} has children. Delete or flatten the children first."""


class LimitReached(Error):
    """The {what} would be {value}, but the limit is {limit}. The request succeeds after a flatten of {flattens}; see "rbdcloner-manage flatten list"."""

    # ``what`` is "number of snapshots of DISK" or "clone depth below
    # SNAPSHOT"; ``flattens`` is the image whose flatten is awaited, or "an
    # idle image" where no image can be flattened now.
    retryable = True


class ShrinkRefused(Error):
    """Disk {name} has {recorded_bytes} and cannot shrink to {size_bytes}. Request at least the present size."""


class PoolNotServed(Error):
    """Pool {pool} is not configured for this purpose, only {served}. Add the pool to "disk_pools" or "image_pools" in [ceph], or choose another pool."""


# Lineage


class ParentNotFound(Error):
    """The database has no parent {parent}. Retry the request."""


class ParentReleased(Error):
    """Parent {parent} is being released and takes no new child. Retry the request."""

    retryable = True


class ParentGone(Error):
    """Parent {parent} changed in Ceph: {reason}. Retry the request."""

    retryable = True


class ParentHasChildren(Error):
    """Parent {parent} has living children: {children}. Delete or flatten the children first."""


class RowMoved(Error):
    """The row of {name} was changed by another request or worker (expected: {expected}). Retry the request."""

    retryable = True


class LeaseLost(RowMoved):
    """The lease on {name} expired before the work was done (expected: {expected}). Retry the request."""


class DestructionRefused(Error):
    """Nothing was destroyed, because the order "{order}" is refused: {reason}. Retry later; see the log of rbdcloner-manager."""

    retryable = True


class DatabaseUnavailable(Error):
    """The lineage database did not answer: {reason}. Check that the database runs, then retry."""

    retryable = True


class DatabaseOutdated(Error):
    """Images are neither destroyed nor undone, and deletions wait: {reason}. Run "rbdcloner-manage db restored"."""


class DatabaseRevision(Error):
    """The lineage database is at revision {current}, and this release needs {needed}. Run "rbdcloner-manage db sync"."""


# Ceph


class CephError(Error):
    """An operation of Ceph failed."""


class CephUnavailable(CephError):
    """Ceph did not answer in time ({act}), and the outcome is unknown. Check the health of the cluster, then retry."""

    retryable = True


class ShutOut(CephUnavailable):
    """Ceph blocklisted this worker ({act}). The worker reconnects by itself; retry the request."""


class CephForbidden(CephError):
    """The Ceph key of rbdcloner may not {act} in pool {pool}. Check the capabilities of the key with "ceph auth get"."""


class ChildrenHidden(CephForbidden):
    """{user} may not read a pool with clones of {snapshot}, such as Cinder's. Run "ceph auth caps {user}" with "profile rbd-read-only" on that pool, too."""


class CephAuthentication(CephUnavailable):
    """{problem}. {remedy}."""

    # The work itself did not fail: it waits, as for a cluster that is down,
    # while an administrator replaces the key.


class ClusterDiffers(CephUnavailable):
    """{conffile} leads to cluster {found}, but this worker belongs to cluster {fsid}. Restore the file, or restart rbdcloner-manager."""


class CephRefused(CephError):
    """Ceph refused to {act}: {reason}. Remove the cause in Ceph, then retry."""


class OutOfSpace(CephError):
    """Pool {pool} is full. Make room in the pool, then retry."""


class PoolNotFound(CephError):
    """Ceph has no pool {pool}. Create the pool, or correct its name in the configuration."""


class PoolReplaced(CephError):
    """Pool {pool} has ID {found}, but its rows belong to the pool with ID {recorded}, which was replaced. If the new pool is the right one, run "rbdcloner-manage service release-brake"."""


class RbdImageNotFound(CephError):
    """There is no RBD image {image} in pool {pool}."""


class RbdImageExists(CephError):
    """RBD image {image} already exists in pool {pool}. Rename or remove that image."""


class RbdImageInUse(CephError):
    """RBD image {image} in pool {pool} is open at {watchers}. Stop the client there, then retry."""

    retryable = True


class RbdImageRenamed(CephError):
    """RBD image {id} in pool {pool} is recorded as {image}, but has the name {found}. Rename the image back."""


class RbdImageReplaced(CephError):
    """Name {image} in pool {pool} belongs to RBD image {found}, but RBD image {id} is recorded. Rename or remove image {found}."""


class RbdImageMigrating(CephError):
    """RBD image {image} in pool {pool} is being migrated. Commit or abort the migration."""


class RbdImageDemoted(CephError):
    """RBD image {image} in pool {pool} is mirrored and not primary. Promote the image to change it."""


class RbdImageHasSnapshots(CephError):
    """RBD image {image} in pool {pool} has snapshots. Remove the snapshots first."""


class SnapshotNotFound(CephError):
    """RBD image {image} in pool {pool} has no snapshot {snapshot}."""


class SnapshotTrashed(CephError):
    """Snapshot {snapshot} of RBD image {image} in pool {pool} is in the trash. Take a new snapshot."""


class SnapshotProtected(CephError):
    """Snapshot {snapshot} of RBD image {image} in pool {pool} is protected. Unprotect the snapshot first."""


class SnapshotUnprotected(CephError):
    """Snapshot {snapshot} of RBD image {image} in pool {pool} is not protected. Protect the snapshot first."""


class SnapshotHasChildren(CephError):
    """Snapshot {snapshot} of RBD image {image} in pool {pool} has children. Delete or flatten the children first."""


# Messages


class ServiceUnavailable(Error):
    """No rbdcloner-manager answered {method} within {timeout_s} s (none has since {since}): {reason}. Check that rbdcloner-manager and RabbitMQ run."""

    retryable = True


class ServiceBusy(Error):
    """This worker already has {waiting} waiting requests. Retry the request; if that happens often, run more workers."""

    retryable = True


class RequestExpired(Error):
    """Request {method} waited {waited_s} s for a thread, and its caller waits no longer. Retry the request; if that happens often, run more workers."""

    retryable = True


class VersionRefused(Error):
    """Method {method} is not in the RPC version in use: {reason}. Finish the upgrade of the managers."""


# Internal errors
#
# Raised by periodic tasks, between packages, and by commands. A caller may
# read one of these as the reason in a row or in ``ImportRefused``.


# Imports


class ImageReplaced(ImageError):
    """The data of image {image_id} was replaced since the import was requested. Request the disk again."""


class FeatureUnsupported(ImageUnfit):
    """Image {image_id} has {feature}, which is not supported. Convert the image, for example to a plain qcow2."""


class FormatDiffers(ImageUnfit):
    """Image {image_id} is registered as {said}, but its data is {found}. Upload the image with the right disk format."""


class ImageUnsafe(ImageUnfit):
    """Image {image_id} is not safe to open: {reason}. Convert the image to a plain raw or qcow2."""


class ImageOverSizeLimit(ImageUnfit):
    """Image {image_id} unpacks to {size_bytes}, but the limit is {limit_bytes}. Upload a smaller image, or raise "max_size_gib" in [imports]."""


class SizeDiffers(ImageUnfit):
    """Image {image_id} has {expected_bytes} by its header, but {found_bytes} by {source}. Upload the image again."""


class ChecksumDiffers(ImageUnfit):
    """The data of image {image_id} has another {algorithm} checksum than Glance says. Upload the image again."""


class DataTruncated(ImageUnfit):
    """Glance sent {received_bytes} instead of {size_bytes} of image {image_id}. Check Glance and its store."""


class ImageDataMissing(ImageUnfit):
    """Glance has image {image_id}, but not its data. Check the store of Glance, or upload the image again."""


class SignatureInvalid(ImageUnfit):
    """The signature of image {image_id} is not valid: {reason}. Sign the image again, or set "verify_signatures = false" in [imports]."""


class KeyManagerUnavailable(Error):
    """The key manager gave no certificate for image {image_id}: {reason}. Check the group [key_manager]."""

    retryable = True


class ScratchFull(Error):
    """The scratch folder has no room for {size_bytes} of image {image_id}, only {free_bytes} are free. Enlarge the folder's file system or "scratch_mib" in [imports]."""

    retryable = True


class ScratchTooSmall(ImageUnfit):
    """Image {image_id} needs {size_bytes} in the scratch folder, which holds at most {limit_bytes}. Raise "scratch_mib" in [imports]."""


class ConversionFailed(Error):
    """qemu-img did not convert image {image_id}: {reason}. Check the image with "qemu-img check"."""


class ImportStopped(ImageError):
    """The import of image {image_id} was stopped with its worker. Another worker starts the import again."""

    retryable = True


# Images that Glance has deleted


class ImageInGlance(ImageError):
    """Glance still has image {image_id}, so its data is kept. Delete the image in Glance to free the space."""

    retryable = True


class ImageAbsentLately(ImageError):
    """Image {image_id} has been absent from Glance for less than {delay_s} s ("absence_delay" in [safety]), so its data is kept until then."""

    retryable = True


class BrakeEngaged(Error):
    """Missing images are not removed, because the brake is engaged: {reason}. Check Glance and Ceph, then run "rbdcloner-manage service release-brake"."""

    retryable = True


class GlanceHidesImages(GlanceForbidden):
    """Glance does not show rbdcloner the images of other projects, so no image is treated as deleted and no space is freed. Give the user in [glance] the roles admin and service."""


# Rows and commands


class NoteUndecided(Error):
    """nova-compute left an offline note that it is making disk {name} in pool {pool}, and then stopped; the image may be complete. If the instance uses the image, run "rbdcloner-manage disk adopt"; otherwise remove the image, then run "rados -p {pool} rmomapkey rbdcloner.unadopted {name}"."""


class NotRetired(Error):
    """{image} is {state}, not in the trash. See "rbdcloner-manage retired list"."""


class LeaseExpired(Error):
    """Worker {owner} holds {name} past its lease and may still act from {addresses}."""

    retryable = True


class FlattenNotFound(Error):
    """There is no flatten {id}. See "rbdcloner-manage flatten list --all"."""


class ImageImportNotFound(Error):
    """There is no import {uuid}. See "rbdcloner-manage base list --all"."""


class FlattenStopped(CephError):
    """The flatten of RBD image {image} in pool {pool} was stopped with its worker. Another worker resumes the flatten."""

    retryable = True


def reason_of(exc: Exception) -> str:
    """Return what a row keeps of *exc*: name and message, nothing private.

    The message of an error that is not ours may hold anything; its type does
    not.
    """
    if isinstance(exc, Error):
        return f'{exc.name}: {exc}'
    return type(exc).__name__
