#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The machine's first process: it gets ready what a distribution's would, and becomes busybox's init, which runs sshd.
mount -t devtmpfs devtmpfs /dev
exec </dev/console >/dev/console 2>&1
mkdir -p /dev/pts /dev/shm
mount -t devpts -o gid=5,mode=620,ptmxmode=666 devpts /dev/pts
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs /run
mount --make-rshared /
mkdir -p /run/sshd
# The disk with the keys of this machine and the files that the caller gave it is a tar: the one without a partition. It may be there later
# than the other.
until [ -b "$seed" ]; do
	for disk in /dev/nvme0n1 /dev/nvme1n1; do
		[ ! -b $disk ] || [ -b ${disk}p1 ] || seed=$disk
	done
done
tar -x -f "$seed" -C /
ln -s /proc/self/fd /dev/fd

# In the order of their dependencies.
for module in failover net_failover virtio_net overlay binfmt_misc; do
	insmod /usr/lib/modules/*/kernel/*/$module.ko.xz 2>/dev/null || insmod /usr/lib/modules/*/kernel/*/*/$module.ko.xz || echo "no module $module"
done

hostname machine
ifconfig lo 127.0.0.1 up
ifconfig eth0 10.0.2.15 netmask 255.255.255.0 up
route add default gw 10.0.2.2
exec /usr/sbin/init
