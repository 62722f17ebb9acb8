#!/bin/sh
# First program of a host, as PID 1 of fresh mount, PID and UTS namespaces: gives the host a root of its own, then its
# own network. Programs come read-only from the machine; /var/lib/reconciler and /etc/openvswitch are the host's disk; all
# else is new at every start.
#   host.sh NAME DISK LAB
set -eu
umask 022
name=$1 disk=$2 lab=$3
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
for part in bin sbin lib lib32 lib64 libx32 usr; do
    if [ -L "/$part" ]; then
        cp -P "/$part" "$part"
    elif [ -d "/$part" ]; then
        mkdir "$part"
        mount --rbind "/$part" "$part"
        mount -o remount,bind,ro "$part"
    fi
done

# /etc is a folder of the host, with links to the files of the machine. Mounts on files of the machine's /etc would not last:
# if a package replaces such a file, the kernel removes the mounts on it.
mkdir etc etc.machine
mount --rbind /etc etc.machine
mount -o remount,bind,ro etc.machine
(cd etc && find ../etc.machine -mindepth 1 -maxdepth 1 ! -name openvswitch -exec ln -s -t . {} +)
mkdir etc/openvswitch
sh "$lab/boot/accounts.sh" "$name" "$disk/ssh" etc
mount --bind etc etc
mount -o remount,bind,ro etc

mount --bind "$disk/openvswitch" etc/openvswitch
mount --bind "$disk/reconciler" var/lib/reconciler
mount --rbind /dev dev
mount -t tmpfs -o mode=1777 lab-shm dev/shm
mount -t proc proc proc
cp "$lab/boot/services.sh" run/lab
pivot_root . machine
umount -l /machine
rmdir /machine
exec unshare --net -- tini -- sh /run/lab/services.sh "$name"
