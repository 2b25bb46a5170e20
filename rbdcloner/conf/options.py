# SPDX-License-Identifier: Apache-2.0
"""Every option of our own, in one file."""

import socket

from oslo_config import cfg

from rbdcloner import rpc
from rbdcloner.model import CloneFormat

MANAGER = [
    cfg.HostAddressOpt(
        'host',
        default=socket.gethostname(),
        sample_default='<hostname>',
        help='Name of this host. The name must be unique among all managers. '
        'Default: the hostname.',
    ),
    cfg.IntOpt(
        'workers',
        default=2,
        min=1,
        max=256,
        help='Number of worker processes on this host. Each worker has one '
        'connection to Ceph and executes "executor_thread_pool_size" '
        'requests at a time.',
    ),
    cfg.IntOpt(
        'waiting_requests',
        default=32,
        min=0,
        help='Number of requests that may wait in a worker while all threads '
        'of the worker are busy. Further requests are refused at once, '
        'and their callers retry with another worker. 0: no request '
        'waits.',
    ),
    cfg.IntOpt(
        'lease',
        default=7,
        min=3,
        help='Lease of a worker on its work, in seconds. After the lease '
        'expires, another worker may take over the work. A worker '
        'renews its lease four times per period. A worker that is '
        'paused for longer loses its work, and its Ceph connections are '
        'blocklisted.',
    ),
    cfg.IntOpt(
        'recovery_interval',
        default=30,
        min=1,
        mutable=True,
        help='How often abandoned work is resumed, in seconds. Failed work '
        'is abandoned when no caller has retried the request for the '
        'same time.',
    ),
    cfg.IntOpt(
        'survey_interval',
        default=60,
        min=1,
        mutable=True,
        help='How often Ceph and Glance are checked for outside changes, in '
        'seconds: for images that were deleted, removed or flattened by '
        'others. One manager of the cloud runs each check, which lists '
        'the images of all pools.',
    ),
    cfg.IntOpt(
        'garbage_collectors',
        default=2,
        min=1,
        max=64,
        mutable=True,
        help='Number of threads per worker that destroy deleted images. More '
        'threads free space sooner and put more load on Ceph.',
    ),
]

CEPH = [
    cfg.StrOpt(
        'conf',
        default='/etc/ceph/ceph.conf',
        help="Path of Ceph's configuration file.",
    ),
    cfg.StrOpt(
        'user',
        default='rbdcloner',
        help='Name of the Ceph user, without "client.". The key of the user '
        'needs "profile rbd" on the monitors, on the disk pools and on '
        'the image pools.',
    ),
    cfg.ListOpt(
        'disk_pools',
        default=['vms'],
        help='Names of the pools in which disks may be created.',
    ),
    cfg.ListOpt(
        'image_pools',
        default=['images'],
        help='Names of the pools in which Glance stores images. rbdcloner '
        'checks access to the pools at startup.',
    ),
    cfg.IntOpt(
        'clone_format',
        default=int(CloneFormat.V2),
        choices=[
            (1, 'every client can open the disks; parents are protected'),
            (2, 'clients need Mimic or later; parents need no protection'),
        ],
        help='RBD clone format of new clones. Disks of both formats can '
        'coexist.',
    ),
    cfg.IntOpt(
        'timeout',
        default=30,
        min=1,
        help='Timeout in seconds for Ceph operations.',
    ),
]

FLATTEN: list[cfg.Opt] = [
    cfg.IntOpt(
        'limit',
        default=2,
        min=0,
        mutable=True,
        help='Maximum number of flattens that run at once in the whole '
        'cluster. To stop all flattens, set "limit = 0": requests that '
        'exceed "hard_depth" or "hard_snapshots" then fail.',
    ),
    cfg.IntOpt(
        'mib_per_s',
        default=0,
        min=0,
        mutable=True,
        help='Maximum speed of each flatten, in MiB per second of the image. '
        '0: no limit.',
    ),
    cfg.IntOpt(
        'soft_depth',
        default=4,
        min=1,
        mutable=True,
        help='Soft limit of the clone depth, which is the number of images '
        'that a disk descends from. Above the limit, one of the '
        'ancestors is flattened in the background.',
    ),
    cfg.IntOpt(
        'hard_depth',
        default=8,
        min=2,
        mutable=True,
        help='Hard limit of the clone depth, which is the number of images '
        'that a disk descends from. Requests beyond the limit wait for '
        'a flatten.',
    ),
    cfg.IntOpt(
        'soft_snapshots',
        default=250,
        min=1,
        mutable=True,
        help='Soft limit of snapshots per disk. Above the limit, the oldest '
        'Glance image that was made from the disk is flattened in the '
        'background.',
    ),
    cfg.IntOpt(
        'hard_snapshots',
        default=450,
        min=1,
        max=510,
        mutable=True,
        help='Hard limit of snapshots per disk. Requests beyond the limit '
        'wait for a flatten.',
    ),
    cfg.IntOpt(
        'alert_children',
        default=0,
        min=0,
        mutable=True,
        help='Number of children of one parent above which a warning is '
        'logged at each check for outside changes. 0: no warning; a '
        'popular image can have thousands of children.',
    ),
    cfg.IntOpt(
        'retired_after',
        default=0,
        min=0,
        mutable=True,
        help='Time in seconds after which the children of a deleted image '
        'are flattened, so that the space of the image is freed. 0: the '
        'children are not flattened, and the image keeps its space '
        'until the last child is deleted.',
    ),
]

SAFETY: list[cfg.Opt] = [
    cfg.IntOpt(
        'undo_delay',
        default=86400,
        min=0,
        help='Time in seconds for which an image stays in the trash when the '
        'image is undone but may have been delivered to a caller, as '
        'after the restore of a database backup. Until then '
        '"rbdcloner-manage image restore" brings the image back. Images '
        'that were certainly not delivered are destroyed at once. 0: no '
        'delay.',
    ),
    cfg.IntOpt(
        'absence_delay',
        default=86400,
        min=0,
        mutable=True,
        help='Time in seconds for which an image must be absent from Glance '
        'before its RBD image is moved to the trash, and again before '
        'the RBD image is destroyed. An image that reappears in Glance '
        'is restored. Set the delay to more than the age of any backup '
        "of Glance's database that may be restored, and to more than "
        '"scrub_time" of Glance where Glance has "delayed_delete". 0: '
        'no delay.',
    ),
    cfg.IntOpt(
        'brake_limit',
        default=10,
        min=0,
        mutable=True,
        help='Number of missing rows of one kind (RBD images of a pool, '
        'Glance images, base images) above which the brake may engage. '
        'The brake engages if more than "brake_limit" rows and more '
        'than "brake_percent" percent of the rows are missing at once. '
        'Then no missing row is ended until the rows are back or an '
        'administrator runs "rbdcloner-manage service release-brake". '
        '0: the brake never engages.',
    ),
    cfg.IntOpt(
        'brake_percent',
        default=10,
        min=0,
        max=100,
        mutable=True,
        help='Share of missing rows of one kind, in percent, above which the '
        'brake may engage. The brake engages only if more than '
        '"brake_limit" rows are missing as well. 0: any share is enough.',
    ),
]

IMPORTS: list[cfg.Opt] = [
    cfg.StrOpt(
        'pool',
        default='',
        help='Name of the pool into which images are imported that cannot be '
        'cloned in place. Empty: the first of "disk_pools" in '
        'alphabetical order.',
    ),
    cfg.IntOpt(
        'limit',
        default=2,
        min=0,
        mutable=True,
        help='Maximum number of image imports that run at once in the whole '
        'cluster. To stop all imports, set "limit = 0": requests for '
        'disks of images that need an import then fail.',
    ),
    cfg.IntOpt(
        'mib_per_s',
        default=0,
        min=0,
        mutable=True,
        help='Maximum speed of each import, in MiB per second, for the '
        'download and for writing. 0: no limit.',
    ),
    cfg.StrOpt(
        'scratch_dir',
        default='/var/lib/rbdcloner/scratch',
        help='Path of the folder in which images that are not raw are stored '
        'while they are converted. The folder is local to each host.',
    ),
    cfg.IntOpt(
        'scratch_mib',
        default=102400,
        min=1,
        mutable=True,
        help='Maximum space in MiB that the imports of one host may use in '
        '"scratch_dir" at once. Space is reserved before a download '
        'begins. An image that is larger than this value is refused; '
        'use the same value on all hosts.',
    ),
    cfg.IntOpt(
        'max_size_gib',
        default=2048,
        min=1,
        mutable=True,
        help='Maximum size of an imported image in GiB, after conversion to '
        'raw.',
    ),
    cfg.StrOpt(
        'glance_store',
        default='',
        help='Name of the Glance store in this Ceph cluster. If set, raw '
        'images in other stores are copied to this store by Glance, '
        'which needs "copy-image" in "enabled_import_methods" of '
        'Glance. Empty: Glance is not asked to copy images.',
    ),
    cfg.BoolOpt(
        'verify_signatures',
        default=False,
        help='Whether to import only images with a valid signature. The '
        'certificate that an image names is read from the key manager '
        'in [key_manager].',
    ),
    cfg.IntOpt(
        'base_idle_days',
        default=0,
        min=0,
        mutable=True,
        help='Time in days without any disk after which an imported base '
        'image is dropped. 0: a base image is dropped only after its '
        'image is deleted from Glance.',
    ),
]

NOTIFICATIONS: list[cfg.Opt] = [
    cfg.ListOpt(
        'topics',
        default=[],
        help='Topics of the notifications that Glance sends, the same as '
        '"topics" in [oslo_messaging_notifications] of Glance. With '
        'notifications, the deletion of an image is reconciled at once '
        'instead of at the next check for outside changes. Empty: '
        'notifications are not received.',
    ),
    cfg.StrOpt(
        'exchange',
        default='glance',
        help='Exchange of the notifications that Glance sends, the same as '
        '"control_exchange" of Glance.',
    ),
    cfg.StrOpt(
        'transport_url',
        default='',
        secret=True,
        help='URL of the message broker to which Glance sends notifications. '
        'Empty: the same broker as "transport_url" in [DEFAULT].',
    ),
    cfg.StrOpt(
        'pool',
        default='rbdcloner-notifications',
        # The RPC server's queues.
        regex=r'^(?!rbdcloner(\.|$))',
        help='Name of the notification queue that is shared by all managers '
        'and read by no other service, so that other listeners on the '
        'topics lose no notification. Empty: the queues of the topics '
        'themselves are read; set this only for topics that Glance uses '
        'for rbdcloner alone, because such queues grow while no manager '
        'runs.',
    ),
    cfg.BoolOpt(
        'amqp_durable_queues',
        default=False,
        help='Whether the queues of Glance are durable, the same as '
        '"amqp_durable_queues" in [oslo_messaging_rabbit] of Glance. '
        'RabbitMQ refuses the connection of rbdcloner or of Glance if '
        'the values differ.',
    ),
    cfg.BoolOpt(
        'rabbit_quorum_queue',
        default=False,
        help='Whether the queues of Glance are quorum queues, the same as '
        '"rabbit_quorum_queue" in [oslo_messaging_rabbit] of Glance. '
        'RabbitMQ refuses the connection of rbdcloner or of Glance if '
        'the values differ.',
    ),
]

METRICS = [
    cfg.PortOpt(
        'port',
        help='TCP port on which the metrics of all worker processes are '
        'exposed to Prometheus. Not set: metrics are not exposed.',
    ),
    cfg.HostAddressOpt(
        'address',
        default='127.0.0.1',
        help='Address on which the metrics are exposed to Prometheus.',
    ),
]

#: By their groups.
OWN: dict[str | None, list[cfg.Opt]] = {
    None: MANAGER,
    'ceph': CEPH,
    'flatten': FLATTEN,
    'imports': IMPORTS,
    'metrics': METRICS,
    'notifications': NOTIFICATIONS,
    'safety': SAFETY,
    'upgrade_levels': rpc.UPGRADE_LEVELS,
}
