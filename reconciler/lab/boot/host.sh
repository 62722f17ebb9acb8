#!/bin/sh
# First program of a host, as PID 1 of fresh mount, PID and UTS namespaces: gives the host a root of its own, then its
# own network. Programs and /etc come read-only from the machine; /var/lib/reconciler and /etc/openvswitch are the
# host's disk; all else is new at every start.
#   host.sh NAME DISK LAB PYTHON, with the listening socket of its sshd as standard input
set -eu
exec 3<&0 < /dev/null
umask 022
name=$1 disk=$2 lab=$3 python=$4
root=$disk/root

hostname "$name"
mount -t tmpfs -o mode=755 lab-root "$root"
cd "$root"
mkdir -p dev proc sys run/netns run/lock run/sshd run/openvswitch run/lab machine var/lib/reconciler \
    var/lib/openvswitch var/lib/misc var/log/openvswitch var/cache
mkdir -m 700 root
mkdir -m 1777 tmp var/tmp
ln -s ../run var/run
ln -s ../run/lock var/lock
for part in bin sbin lib lib32 lib64 libx32 usr etc; do
    if [ -L "/$part" ]; then
        cp -P "/$part" "$part"
    elif [ -d "/$part" ]; then
        mkdir "$part"
        mount --rbind "/$part" "$part"
        mount -o remount,bind,ro "$part"
    fi
done
sh "$lab/boot/accounts.sh" "$name" "$disk/ssh/sudoers"
mount --bind "$disk/openvswitch" etc/openvswitch
mount --bind "$disk/reconciler" var/lib/reconciler
mount --rbind /dev dev
mount -t tmpfs -o mode=1777 lab-shm dev/shm
mount -t proc proc proc
cp "$lab/boot/services.sh" "$disk"/ssh/* run/lab
chmod 600 run/lab/host_key

# Started while the machine's Python is still in reach; it answers no one before /run/lab/ready is there.
"$python" -I -S "$lab/acceptor.py" 3 &
exec 3<&-

# The acceptor names its files as it starts: it must have loaded them before they go out of sight.
until [ -e run/lab/acceptor ]; do sleep 0.01; done
pivot_root . machine
umount -l /machine
rmdir /machine
exec unshare --net -- tini -- sh /run/lab/services.sh "$name"
