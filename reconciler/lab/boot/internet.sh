#!/bin/sh
# The internet of the lab, in its own network namespace: a web server, and a route to its own subnet only.
#   internet.sh PAGES
set -eu
ip link set lo up
exec busybox httpd -f -p 80 -h "$1"
