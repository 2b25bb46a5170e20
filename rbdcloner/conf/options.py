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
        help='The name of this host, unique among all managers.',
    ),
    cfg.IntOpt(
        'workers',
        default=2,
        min=1,
        max=256,
        help='Worker processes. Each has one connection to Ceph and answers '
        '"executor_thread_pool_size" requests at a time.',
    ),
    cfg.IntOpt(
        'waiting_requests',
        default=32,
        min=0,
        help='Requests that wait in a worker while all its threads are busy. '
        'More are refused at once, and their callers ask another worker.',
    ),
    cfg.IntOpt(
        'lease',
        default=7,
        min=3,
        help='Seconds after which the work of a manager that was killed may '
        'be taken over. Who is at work renews its lease four times in that; '
        'one that is stopped for longer loses its work, and its connections '
        'to Ceph are shut out.',
    ),
    cfg.IntOpt(
        'recovery_interval',
        default=30,
        min=1,
        mutable=True,
        help='Seconds between two looks for work that failed and that nobody '
        'asks for any more, and how long it must have been idle.',
    ),
    cfg.IntOpt(
        'survey_interval',
        default=60,
        min=1,
        mutable=True,
        help='Seconds between two looks, by one manager of the cloud, at what '
        'Glance and operators removed or flattened. Each lists the pools.',
    ),
    cfg.IntOpt(
        'reapers',
        default=2,
        min=1,
        max=64,
        mutable=True,
        help='Threads of a worker that destroy what was deleted, image by '
        'image. More give space back sooner and load Ceph more.',
    ),
]

CEPH = [
    cfg.StrOpt(
        'conf', default='/etc/ceph/ceph.conf', help="Ceph's own configuration."
    ),
    cfg.StrOpt(
        'user',
        default='rbdcloner',
        help='The name of the key, without "client.". It needs "profile rbd" '
        'on the disk pools and on the image pools.',
    ),
    cfg.ListOpt(
        'disk_pools',
        default=['vms'],
        help='The pools that disks may be made in.',
    ),
    cfg.ListOpt(
        'image_pools',
        default=['images'],
        help="Glance's pools; looked at when the service starts.",
    ),
    cfg.IntOpt(
        'clone_format',
        default=int(CloneFormat.V2),
        choices=[
            (1, 'every client can open the disks; parents are protected'),
            (2, 'clients need Mimic or later; parents need no protection'),
        ],
        help='The format of new clones. Disks of both can live side by side.',
    ),
    cfg.IntOpt(
        'timeout',
        default=30,
        min=1,
        help='Seconds after which Ceph is taken not to answer.',
    ),
]

FLATTEN: list[cfg.Opt] = [
    cfg.IntOpt(
        'limit',
        default=2,
        min=0,
        mutable=True,
        help='How many images are flattened at once in the whole cluster. 0: '
        'none; what waits for room is refused.',
    ),
    cfg.IntOpt(
        'mib_per_s',
        default=0,
        min=0,
        mutable=True,
        help='How many MiB of an image each flatten goes through in a second. '
        '0: as many as Ceph can.',
    ),
    cfg.IntOpt(
        'soft_depth',
        default=4,
        min=1,
        mutable=True,
        help='How many images a disk may descend from before one of them is '
        'flattened in the background.',
    ),
    cfg.IntOpt(
        'hard_depth',
        default=8,
        min=2,
        mutable=True,
        help='How many it may descend from at all: a request for more waits '
        'for that flatten.',
    ),
    cfg.IntOpt(
        'soft_snapshots',
        default=250,
        min=1,
        mutable=True,
        help='How many snapshots a disk may have before the oldest Glance '
        'image made of it is flattened in the background.',
    ),
    cfg.IntOpt(
        'hard_snapshots',
        default=450,
        min=1,
        max=510,
        mutable=True,
        help='How many it may have at all.',
    ),
    cfg.IntOpt(
        'alert_children',
        default=0,
        min=0,
        mutable=True,
        help='Warn in the log of parents with more children than that. 0: '
        'never, for a golden image has thousands.',
    ),
    cfg.IntOpt(
        'retired_after',
        default=0,
        min=0,
        mutable=True,
        help='Seconds after which the children of a deleted image are '
        'flattened, so that its space comes back. 0: they keep it as long as '
        'they live.',
    ),
]

SAFETY: list[cfg.Opt] = [
    cfg.IntOpt(
        'undo_delay',
        default=86400,
        min=0,
        help='Seconds that an image stays in the trash whose creation is '
        'undone although it may have been delivered, as after the restore of '
        'a database backup. "rbdcloner-manage image restore" brings it back '
        'until then. Images that were certainly never delivered are '
        'destroyed at once.',
    ),
    cfg.IntOpt(
        'absence_delay',
        default=86400,
        min=0,
        mutable=True,
        help='Seconds for which Glance must have had no image of an id before '
        'its RBD image is moved to the trash, and again before it is '
        'destroyed. An image that is seen again meanwhile is restored. Must '
        "be longer than the age of a backup of Glance's database that may be "
        'restored, and than its "scrub_time" with "delayed_delete". 0: no '
        'wait.',
    ),
    cfg.IntOpt(
        'brake_limit',
        default=10,
        min=0,
        mutable=True,
        help='Number of rows of one kind (images of a pool, Glance images, '
        'bases) that may end at once for being missing. With more, if they '
        'are more than "brake_percent" as well, none ends until an '
        'administrator agrees or they are back. 0: no limit.',
    ),
    cfg.IntOpt(
        'brake_percent',
        default=10,
        min=0,
        max=100,
        mutable=True,
        help='Share in percent of the rows of one kind that may end at once '
        'for being missing; see "brake_limit".',
    ),
]

IMPORTS: list[cfg.Opt] = [
    cfg.StrOpt(
        'pool',
        default='',
        help='Where images are imported to that cannot be cloned as they are. '
        'Empty: the first of "disk_pools", by name.',
    ),
    cfg.IntOpt(
        'limit',
        default=2,
        min=0,
        mutable=True,
        help='How many images are imported at once in the whole cluster. 0: '
        'none, and disks of them are refused.',
    ),
    cfg.IntOpt(
        'mib_per_s',
        default=0,
        min=0,
        mutable=True,
        help='How many MiB of an image each import downloads, and writes, in '
        'a second. 0: as many as it can.',
    ),
    cfg.StrOpt(
        'scratch_dir',
        default='/var/lib/rbdcloner/scratch',
        help='Where images that are not raw are kept while they are '
        'converted. Each host has its own.',
    ),
    cfg.IntOpt(
        'scratch_mib',
        default=102400,
        min=1,
        mutable=True,
        help='How many MiB the imports of one host may take there at once. '
        'Blocks are reserved before a download begins. A larger image is '
        'refused, so that all hosts should have the same.',
    ),
    cfg.IntOpt(
        'max_size_gib',
        default=2048,
        min=1,
        mutable=True,
        help='The largest disk that an image may be unpacked to, in GiB.',
    ),
    cfg.StrOpt(
        'glance_store',
        default='',
        help="Glance's name of its store in this cluster, if it may be asked "
        'to copy raw images there from its other stores ("copy-image" is then '
        'among its enabled_import_methods). Empty: it is not asked.',
    ),
    cfg.BoolOpt(
        'verify_signatures',
        default=False,
        help='Import only images whose signature is valid, by the certificate '
        'that they name in the key manager of group [key_manager].',
    ),
    cfg.IntOpt(
        'base_idle_days',
        default=0,
        min=0,
        mutable=True,
        help='After how many days without a disk an imported image is given '
        'up. 0: when Glance has it no more.',
    ),
]

NOTIFICATIONS: list[cfg.Opt] = [
    cfg.ListOpt(
        'topics',
        default=[],
        help='The topics that Glance sends its notifications to, from '
        '"topics" in its [oslo_messaging_notifications]: a deletion is then '
        'followed at once, not at the next look. Empty: none is listened to.',
    ),
    cfg.StrOpt(
        'exchange',
        default='glance',
        help='"control_exchange" in Glance\'s configuration.',
    ),
    cfg.StrOpt(
        'transport_url',
        default='',
        secret=True,
        help='Where Glance sends them. Empty: where our calls come from.',
    ),
    cfg.StrOpt(
        'pool',
        default='rbdcloner-notifications',
        # The RPC server's queues.
        regex=r'^(?!rbdcloner(\.|$))',
        help='The queue that all managers share and nobody else reads: others '
        'who listen to the topics lose nothing. Empty: the queues of the '
        'topics themselves, for topics that Glance has for us alone; Glance '
        'makes those queues, and they grow unless somebody reads them.',
    ),
    cfg.BoolOpt(
        'amqp_durable_queues',
        default=False,
        help="As in Glance's [oslo_messaging_rabbit]: RabbitMQ refuses "
        'whoever comes second and differs.',
    ),
    cfg.BoolOpt(
        'rabbit_quorum_queue',
        default=False,
        help="As in Glance's [oslo_messaging_rabbit].",
    ),
]

METRICS = [
    cfg.PortOpt(
        'port',
        help='Where worker processes together show their counters to '
        'Prometheus. Not set: nowhere.',
    ),
    cfg.HostAddressOpt(
        'address', default='127.0.0.1', help='The address to listen at.'
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
