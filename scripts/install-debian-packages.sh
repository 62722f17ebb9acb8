#!/bin/sh
# Installs the Debian packages that the lab and the tests need, where any is missing; no service of theirs is started.
set -eu

packages='
    git python3-venv
    openvswitch-switch qemu-system-x86 qemu-utils dnsmasq-base nftables iproute2 kmod util-linux tini
    openssh-server openssh-client sudo
    busybox-static cpio syslinux mtools dosfstools mmdebstrap
    postgresql-15 pgbouncer faketime zsh fish
'

missing=
for package in $packages; do
    state=$(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2> /dev/null) || state=absent
    [ "$state" = installed ] || missing="$missing $package"
done
missing=${missing# }

# The lab's guest boots a kernel that apt downloads, so apt must have its lists even when nothing is missing.
lists=$(find /var/lib/apt/lists -maxdepth 1 -name '*_Packages*' -print -quit 2> /dev/null)

if [ -n "$missing" ] && [ "$(id -u)" -ne 0 ]; then
    echo "setup: these Debian packages are missing: $missing; run \`make setup\` as root, or have them installed." >&2
    exit 1
fi
if [ -z "$missing" ] && { [ -n "$lists" ] || [ "$(id -u)" -ne 0 ]; }; then
    exit 0
fi

export DEBIAN_FRONTEND=noninteractive
echo "setup: apt-get update"
apt-get update -q -q -o DPkg::Lock::Timeout=120
[ -n "$missing" ] || exit 0

# Two guards, there only while apt works: Debian starts the services that it installs, and makes a database cluster.
guard=/usr/sbin/policy-rc.d
kept=$guard.before-reconciler-setup
cluster_guard=/etc/postgresql-common/createcluster.d/reconciler-setup.conf
log=$(mktemp)

restore() {
    rm -f "$guard" "$cluster_guard" "$log"
    if [ -e "$kept" ] || [ -L "$kept" ]; then
        mv "$kept" "$guard"
    fi
}
trap restore EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# A kept file that is already there is the true original, left by a set-up that was killed.
if [ ! -e "$kept" ] && [ -e "$guard" ]; then
    mv "$guard" "$kept"
fi
printf '#!/bin/sh\nexit 101\n' > "$guard"
chmod 755 "$guard"
mkdir -p "${cluster_guard%/*}"
echo 'create_main_cluster = false' > "$cluster_guard"

echo "setup: apt-get install $missing"
# Split on purpose: one argument for each package.
# shellcheck disable=SC2086
if ! apt-get install -q -y --no-install-recommends -o DPkg::Lock::Timeout=120 $missing < /dev/null > "$log" 2>&1; then
    cat "$log" >&2
    exit 1
fi
