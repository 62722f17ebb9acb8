#!/bin/sh
# The outside world, in a network namespace of its own: a web server, and no route to anywhere but its own subnet.
#   internet.sh PAGES
set -eu
ip link set lo up
exec busybox httpd -f -p 80 -h "$1"
