# SPDX-License-Identifier: Apache-2.0
"""The configuration that Ceph's daemons and clients read."""

from __future__ import annotations

import pathlib

MGR_MODULES = pathlib.Path('/usr/share/ceph/mgr')
LIBRARIES = pathlib.Path('/usr/lib')


def osd_classes() -> pathlib.Path:
    """The folder of the OSD's classes, which Ceph 18 does not find itself."""
    (folder,) = LIBRARIES.glob('*/rados-classes')
    return folder


def mgr_modules() -> str:
    """All mgr modules there are; here they would only cost time."""
    installed = {one.parent.name for one in MGR_MODULES.glob('*/__init__.py')}
    return ' '.join(sorted(installed))


def ceph_conf(
    folder: pathlib.Path, fsid: str, mon_port: int, osd_size_bytes: int
) -> str:
    """ceph.conf of a cluster whose everything lives in ``folder``."""
    return f"""\
[global]
fsid = {fsid}
mon host = v2:127.0.0.1:{mon_port}/0
public addr = 127.0.0.1
cluster addr = 127.0.0.1
ms bind msgr1 = false
ms bind ipv6 = false
auth cluster required = cephx
auth service required = cephx
auth client required = cephx
keyring = {folder}/$cluster.$name.keyring
run dir = {folder}/run
pid file =
log file = {folder}/$name.log
admin socket = {folder}/run/$name.asok
heartbeat file =
crash dir = {folder}/crash
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 8
osd pool default pgp num = 8
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
[mon]
public addrv = [v2:127.0.0.1:{mon_port}/0]
mon data = {folder}/mon
mon allow pool delete = true
mon allow pool size one = true
mon warn on pool no redundancy = false
mon data avail warn = 2
mon data avail crit = 1
mon pg warn min per osd = 0
mon cluster log file = {folder}/cluster.log
auth allow insecure global id reclaim = false
mgr initial modules =
paxos propose interval = 0.05
[mgr]
mgr data = {folder}/mgr
mgr disabled modules = {mgr_modules()}
mgr stats period = 1
[osd]
osd data = {folder}/osd
osd class dir = {osd_classes()}
osd objectstore = bluestore
bluestore block size = {osd_size_bytes}
bluestore fsck on mkfs = false
osd memory target = 939524096
[client]
rbd default features = 61
admin socket =
log file =
"""
