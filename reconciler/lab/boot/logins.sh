#!/bin/sh
# Gives a host that runs its accounts again, and covers with them what its /etc has in their place. Nothing else is touched.
#   logins.sh NAME SSH LAB PID, where PID is the host's PID 1
set -eu
umask 022
name=$1 ssh=$2 lab=$3 pid=$4

cd "/proc/$pid/root"
sh "$lab/boot/accounts.sh" "$name" "$ssh" run/lab/etc
exec nsenter --target="$pid" --mount -- sh -euc '
    for file in /run/lab/etc/*; do
        [ "$file" -ef "/etc/${file##*/}" ] || mount --bind "$file" "/etc/${file##*/}"
    done'
