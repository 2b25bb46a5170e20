#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# libvirtd.sh FOLDER HOSTNAME: run libvirtd, FOLDER being where it reads and
# writes what is otherwise below /etc, /run and /var.
#
# To be the first process of namespaces of its own (mounts, processes, host
# name), so that the machine's own libvirt and other stacks are not disturbed
# and no guest outlives it. /etc is covered with itself and FOLDER/etc, which
# has a place to mount on and the user whom libvirt was compiled to look for.
set -eu
folder=$1
hostname "$2"
mount --bind "$folder/run" /run
for name in cache lib log; do
    mount --bind "$folder/$name" "/var/$name"
done
mount -t overlay -o "lowerdir=$folder/etc:/etc" none /etc
mount --bind "$folder/etc/libvirt" /etc/libvirt
export LIBVIRT_DRIVER_DIR="$folder/drivers"
libvirtd -f "$folder/etc/libvirt/libvirtd.conf" -p "$folder/pid" &
# The shell stays, to reap the guests' processes.
while kill -0 $! 2>/dev/null; do
    wait || :
done
