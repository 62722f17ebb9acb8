#!/bin/sh
# Second program of a host, child of its PID 1, in its own network: starts Open vSwitch, then marks the host as ready.
#   services.sh NAME
set -eu
name=$1
mount -t sysfs sysfs /sys
ip link set lo up
# A new namespace copies the machine's setting; a host forwards nothing until the reconciler enables it.
echo 0 > /proc/sys/net/ipv4/ip_forward

# The lab connects the host from outside, and brings the trunk up last: every link exists by then.
until ip -o link show dev ens4 up 2> /dev/null | grep -q .; do sleep 0.01; done

database=/etc/openvswitch/conf.db
[ -e "$database" ] || ovsdb-tool create "$database" /usr/share/openvswitch/vswitch.ovsschema
quiet='-vconsole:off -vsyslog:off'
# shellcheck disable=SC2086  # two words
ovsdb-server $quiet "$database" --remote=punix:/run/openvswitch/db.sock --pidfile --detach --no-chdir --log-file
ovs-vsctl --no-wait -- init -- set Open_vSwitch . external_ids:system-id="$name" external_ids:hostname="$name"
# shellcheck disable=SC2086
ovs-vswitchd $quiet --pidfile --detach --no-chdir --log-file

# An existing trunk keeps its VLANs: the disk survives a power cut. A new one gets 4094; none would mean all.
# A new bridge forwards; one that was there forwards nothing until its flows are loaded.
if ! ovs-vsctl br-exists br-int; then
    ovs-vsctl add-br br-int -- set bridge br-int datapath_type=netdev -- set-fail-mode br-int secure
    ovs-ofctl add-flow br-int priority=0,actions=NORMAL
fi
ovs-vsctl list port ens4 > /dev/null 2>&1 || ovs-vsctl add-port br-int ens4 trunks=4094

touch /run/lab/ready
exec sleep infinity
