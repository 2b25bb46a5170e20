# SPDX-License-Identifier: Apache-2.0
"""Every error of the service; a class's docstring is its message.

Facts are named and JSON-plain, so that an error crosses the wire as itself:
``NameTaken(pool='vms', name='a_disk')``. So does this module's name, which is
why it is one.
"""

from typing import Any
from typing import ClassVar


class Error(Exception):
    """Something went wrong in rbdcloner."""

    #: The same call may succeed later without anybody's help.
    retryable: ClassVar[bool] = False

    def __init__(self, **facts: Any) -> None:
        # No positional arguments: oslo.messaging rebuilds a remote error as
        # type(*args, **kwargs).
        super().__init__()
        self.kwargs = facts

    def __str__(self) -> str:
        return (type(self).__doc__ or '').format(**self.kwargs)

    @property
    def name(self) -> str:
        """The error's name, as callers, logs and metrics see it."""
        return type(self).__name__


class InvalidArgument(Error):
    """{argument} is not valid: {reason}."""


class InternalError(Error):
    """The service failed unexpectedly; its log has the cause under {request}."""


class ConfigurationError(Error):
    """{problem}. {remedy}."""


# Images in Glance


class ImageError(Error):
    """An image cannot be used."""


class ImageNotFound(ImageError):
    """Glance has no image {image_id}."""


class ImageNotActive(ImageError):
    """Image {image_id} is {status}, not active."""


class ImageHidden(ImageError):
    """Image {image_id} is hidden."""

    # Only managers of the release before answer that.


class ImageForbidden(ImageError):
    """Image {image_id} is not available to project {project_id}."""


class ImageReplaced(ImageError):
    """The data of image {image_id} is another by now."""


class ImageNotCloneable(ImageError):
    """Image {image_id} cannot be cloned: {summary}."""


class ImageTooBig(ImageError):
    """Image {image_id} has {image_bytes} bytes, the disk only {size_bytes}."""


class ImageInGlance(ImageError):
    """Glance still has image {image_id}; its data is kept."""

    retryable = True


class ImageAbsentLately(ImageError):
    """Glance has had no image {image_id} for less than {delay_s} s; its data is kept."""

    retryable = True


class BrakeEngaged(Error):
    """Nothing is removed for being missing: {reason}. An administrator releases the brake with "rbdcloner-manage service release-brake"."""

    retryable = True


class ImageDamaged(ImageError):
    """Image {image_id} lost {snapshot}, and may have changed since."""


class ImageUnfit(ImageError):
    """The data of an image must not, or cannot, be imported."""


class FormatUnsupported(ImageUnfit):
    """Image {image_id} is in format {format}, which is not imported."""


class ImageEmpty(ImageUnfit):
    """Image {image_id} has no data: its size is 0 bytes."""


class FeatureUnsupported(ImageUnfit):
    """Image {image_id} has {feature}, which is not supported."""


class ContainerUnsupported(ImageUnfit):
    """Image {image_id} is in a {container} container, which is not imported."""


class FormatDiffers(ImageUnfit):
    """Image {image_id} is said to be {said}, and is {found}."""


class ImageUnsafe(ImageUnfit):
    """Image {image_id} is not safe to open: {reason}."""


class ImageTooLarge(ImageUnfit):
    """Image {image_id} has {size_bytes} bytes when unpacked, over {limit_bytes}."""


class SizeDiffers(ImageUnfit):
    """Image {image_id} has {expected_bytes} bytes by its header, and {found_bytes} by {source}."""


class ChecksumDiffers(ImageUnfit):
    """The data of image {image_id} has another {algorithm} than Glance says."""


class DataTruncated(ImageUnfit):
    """Glance sent {received_bytes} of the {size_bytes} bytes of image {image_id}."""


class ImageDataMissing(ImageUnfit):
    """Glance has image {image_id}, and no data of it."""


class SignatureInvalid(ImageUnfit):
    """The signature of image {image_id} is not valid: {reason}."""


class KeyManagerUnavailable(Error):
    """The key manager gave no certificate for image {image_id}: {reason}."""

    retryable = True


class ScratchFull(Error):
    """The scratch folder has no room for {size_bytes} bytes of image {image_id} ({free_bytes} free)."""

    retryable = True


class ScratchTooSmall(ImageUnfit):
    """Image {image_id} needs {size_bytes} bytes in the scratch folder, which holds {limit_bytes} at most."""


class ConversionFailed(Error):
    """qemu-img did not convert image {image_id}: {reason}."""


class ImageImporting(ImageError):
    """Image {image_id} is being imported ({done_bytes} of {total_bytes} bytes); {waits}."""

    # Two more facts are for who asks again: ``beat``, a text that changes
    # with whatever comes on, and ``again_s``, when to ask.
    retryable = True


class ImportRefused(ImageError):
    """Image {image_id} is not imported: {reason}."""


class ImportStopped(ImageError):
    """Importing image {image_id} was stopped."""

    retryable = True


class GlanceUnavailable(Error):
    """Glance did not answer: {reason}."""

    retryable = True


class GlanceForbidden(Error):
    """Glance refused this service's credentials for {act}."""


class GlanceHidesImages(GlanceForbidden):
    """Glance shows this service no image of other projects: a 404 says nothing, and no image is taken for deleted. Give the user in [glance] the roles admin and service."""


# Disks


class DiskNotFound(Error):
    """There is no disk {name} in pool {pool}."""


class DiskExists(Error):
    """Disk {name} in pool {pool} exists."""


class DiskImageMissing(Error):
    """The RBD image {image_id} of disk {name} in pool {pool} {found}."""


class DiskDiffers(Error):
    """Disk {name} in pool {pool} exists with {field} {recorded}, not {asked}."""


class RequestOutdated(Error):
    """The request to change {name} in pool {pool} is outdated: request {later} came later."""


class CreationOutdated(RequestOutdated):
    """The request to create {name} in pool {pool} is outdated: deletion {later} came later."""


class NameTaken(Error):
    """Pool {pool} has an image {name} that this service did not make."""


class NoteUndecided(Error):
    """nova-compute noted that it makes disk {name} in pool {pool} and does not go on; the image may be whole. If the instance uses it, run "rbdcloner-manage disk adopt"; else remove the image, then "rados -p {pool} rmomapkey rbdcloner.unadopted {name}"."""


class DiskBusy(Error):
    """Disk {name} in pool {pool} is {state}, and another request works on it."""

    retryable = True


class DiskInUse(Error):
    """Disk {name} in pool {pool} is open at {watchers}."""

    retryable = True


class RollbackAbandoned(Error):
    """The rollback of disk {name} in pool {pool} was given up: {reason}."""


class DiskSnapshotNotFound(Error):
    """Disk {name} in pool {pool} has no snapshot {snapshot}."""


class DiskSnapshotExists(Error):
    """Disk {name} in pool {pool} has another snapshot {snapshot}; remove it first."""


class DiskSnapshotInUse(Error):
    """Snapshot {snapshot} of disk {name} in pool {pool} has children."""


class RoomNeeded(Error):
    """{what} would be {value}, over {limit}; it waits for {flattens}."""

    retryable = True


class NotRetired(Error):
    """{image} is {state}, not in the trash."""


class ShrinkRefused(Error):
    """Disk {name} has {recorded_bytes} bytes and is not shrunk to {size_bytes}."""


class PoolNotServed(Error):
    """Pool {pool} is not one that this service makes disks in ({served})."""


# Lineage


class ParentNotFound(Error):
    """There is no parent {parent}."""


class ParentReleased(Error):
    """Parent {parent} is being released and takes no child."""

    retryable = True


class ParentGone(Error):
    """Parent {parent} is not in Ceph as it was: {reason}."""

    retryable = True


class ParentHasChildren(Error):
    """Parent {parent} has living children: {children}."""


class RowMoved(Error):
    """The row of {name} is no longer as this request left it ({expected})."""

    retryable = True


class DestructionRefused(Error):
    """Nothing is destroyed by the order of {order}: {reason}."""

    retryable = True


class LeaseLost(RowMoved):
    """The lease on {name} ran out before the work was done ({expected})."""


class HolderLate(Error):
    """{owner} is late with {name} and may still act from {addresses}."""

    retryable = True


class FlattenNotFound(Error):
    """There is no flatten {id}."""


class BaseNotFound(Error):
    """There is no base {uuid}."""


class DatabaseUnavailable(Error):
    """The lineage database did not answer: {reason}."""

    retryable = True


class DatabaseOutdated(Error):
    """Nothing is destroyed or undone, deletions wait: {reason}. Run "rbdcloner-manage db restored"."""


class DatabaseRevision(Error):
    """The lineage database is at revision {current}, this release needs {needed}."""


# Ceph


class CephError(Error):
    """Ceph refused a request."""


class CephUnavailable(CephError):
    """Ceph did not answer in time ({act}); what came of it is unknown."""

    retryable = True


class ShutOut(CephUnavailable):
    """Ceph has shut this worker out ({act}); it connects anew."""


class CephForbidden(CephError):
    """This service's Ceph key may not {act} in pool {pool}."""


class ChildrenHidden(CephForbidden):
    """{user} may not read a pool with clones of {snapshot}, such as Cinder's. Run "ceph auth caps {user}" with "profile rbd-read-only" on that pool, too."""


class CephAuthentication(CephUnavailable):
    """{problem}. {remedy}."""

    # It says nothing of the work: that waits, as for a cluster that is down,
    # while an administrator replaces the key.


class ClusterDiffers(CephUnavailable):
    """{conffile} leads to cluster {found}, and this worker is of cluster {fsid}. Restore the file, or restart rbdcloner-manager."""


class CephRefused(CephError):
    """Ceph refused to {act}: {reason}."""


class OutOfSpace(CephError):
    """Pool {pool} is full."""


class PoolNotFound(CephError):
    """Ceph has no pool {pool}."""


class PoolReplaced(CephError):
    """Pool {pool} has id {found}, and its rows are about the pool with id {recorded}: it was replaced by another one."""


class RbdImageNotFound(CephError):
    """Pool {pool} has no RBD image {image}."""


class RbdImageExists(CephError):
    """Pool {pool} already has an RBD image {image}."""


class RbdImageInUse(CephError):
    """RBD image {image} in pool {pool} is open at {watchers}."""

    retryable = True


class RbdImageRenamed(CephError):
    """RBD image {id} of pool {pool} is recorded as {image} and has the name {found}; rename it back."""


class RbdImageReplaced(CephError):
    """Image {image} of pool {pool} is RBD image {found}, not {id}, which is recorded; rename or remove it."""


class RbdImageMigrating(CephError):
    """RBD image {image} in pool {pool} is being migrated; commit the migration, or abort it."""


class RbdImageDemoted(CephError):
    """RBD image {image} in pool {pool} is mirrored and not the primary; promote it to change it."""


class RbdImageHasSnapshots(CephError):
    """RBD image {image} in pool {pool} has snapshots."""


class SnapshotNotFound(CephError):
    """RBD image {image} in pool {pool} has no snapshot {snapshot}."""


class SnapshotTrashed(CephError):
    """Snapshot {snapshot} of RBD image {image} in pool {pool} is in the trash."""


class SnapshotProtected(CephError):
    """Snapshot {snapshot} of RBD image {image} in pool {pool} is protected."""


class SnapshotUnprotected(CephError):
    """Snapshot {snapshot} of RBD image {image} in pool {pool} is not protected."""


class FlattenStopped(CephError):
    """Flattening RBD image {image} in pool {pool} was stopped."""

    retryable = True


class SnapshotHasChildren(CephError):
    """Snapshot {snapshot} of RBD image {image} in pool {pool} has children."""


# Messages


class ServiceUnavailable(Error):
    """No rbdcloner-manager answered {method} within {timeout_s} s (none has since {since}): {reason}."""

    retryable = True


class ServiceBusy(Error):
    """This rbdcloner-manager has {waiting} requests waiting already."""

    retryable = True


class RequestExpired(Error):
    """{method} waited for {waited_s} s, and its caller waits no longer."""

    retryable = True


class VersionRefused(Error):
    """{method} is not in the RPC version in use: {reason}."""


def reason_of(exc: Exception) -> str:
    """Return what a row keeps of *exc*: name and message, nothing private.

    The message of an error that is not ours may hold anything; its type does
    not.
    """
    if isinstance(exc, Error):
        return f'{exc.name}: {exc}'
    return type(exc).__name__
