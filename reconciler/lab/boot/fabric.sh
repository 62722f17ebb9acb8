#!/bin/sh
# The fabric of the lab, in its own network namespace: one bridge joins the hosts' trunks, one their management links.
set -eu
echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6
echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6
for protocol in iptables ip6tables arptables; do
    switch=/proc/sys/net/bridge/bridge-nf-call-$protocol
    [ ! -e "$switch" ] || echo 0 > "$switch"
done
for bridge in trunk management; do
    ip link add "$bridge" type bridge stp_state 0 mcast_snooping 0
    ip link set "$bridge" up
done
exec sleep infinity
