"""Makes a bridge fail closed, and keeps our flows over a restart of the switch.

With `fail_mode` secure, a switch that starts without flows forwards nothing. A process on the host, the keeper, saves
our flows and their meters whenever they change and loads them again at once when the switch has restarted. The base
flow lets a bridge forward at all; it is loaded together with the others or after them, so a bridge that has it has them
all.
"""

from __future__ import annotations

from collections.abc import Mapping

from reconciler.apply.drivers import paths, switch
from reconciler.apply.drivers.switch import Flow
from reconciler.apply.transport.command import Command, script

BASE_COOKIE = switch.cookie("bridge")
"""The cookie of the flow that a bridge forwards by."""

_BASE = frozenset({Flow(0, frozenset(), "NORMAL")})

# `convert` makes a bridge fail closed with all flows that it has: a change of `fail_mode` removes them, so they are
# loaded again at once. `watch` runs until its file of flows is deleted.
KEEP = f"""#!/bin/sh
# Keeps the reconciler's flows of a bridge: sh keep convert|watch BRIDGE
set -u
bridge=$2 base={BASE_COOKIE:#x} ours={switch.OURS}
saved=${{0%/*}}/$bridge.flows meters=${{0%/*}}/$bridge.meters
of() {{ ovs-ofctl --timeout=10 -O OpenFlow14 "$@"; }}
whole() {{ of --no-stats dump-flows "$bridge" "cookie=$base/-1" 2> /dev/null | grep -q actions=; }}
save() {{
    of --names --no-stats dump-flows "$bridge" "$ours" > "$saved.new" 2> /dev/null || return 0
    if grep -q "cookie=$base," "$saved.new"; then
        save_meters
        mv -- "$saved.new" "$saved"
    fi
}}
# OpenFlow has no cookies for meters: those that our flows name are ours. Each is on a line as add-meter takes it.
save_meters() {{
    of dump-meters "$bridge" 2> /dev/null | awk -v flows="$saved.new" '
        BEGIN {{
            while ((getline line < flows) > 0)
                if (match(line, /actions=meter:[0-9]+/)) ours[substr(line, RSTART + 14, RLENGTH - 14)]
        }}
        /^meter=/ {{ number = substr($1, 7); form = $2 "," $3; next }}
        number in ours && form ~ /^(pktps|kbps),burst$/ {{ print "meter=" number "," form ",band=" $1 "," $2 "," $3 }}
    ' > "$meters.new"
    mv -- "$meters.new" "$meters"
}}
# Flows are loaded without their meters first, because each meter takes a command of its own.
restore() {{
    [ -e "$saved" ] || echo "cookie=$base,priority=0,actions=NORMAL" > "$saved"
    if [ -s "$meters" ]; then
        sed 's/meter:[0-9]*,//' "$saved" > "$saved.plain"
        load "$saved.plain"
        while IFS= read -r line; do of add-meter "$bridge" "$line" < /dev/null 2> /dev/null || :; done < "$meters"
    fi
    load "$saved"
}}
load() {{
    of --bundle add-flows "$bridge" "$1" 2> /dev/null && return 0
    # A port is gone. Every flow that can be loaded is, and the base flow last.
    while IFS= read -r line; do
        case $line in *"cookie=$base,"*) ;; *) of add-flow "$bridge" "$line" < /dev/null 2> /dev/null || : ;; esac
    done < "$1"
    of add-flow "$bridge" "cookie=$base,priority=0,actions=NORMAL"
}}
convert() {{
    mode=$(ovs-vsctl --timeout=10 get-fail-mode "$bridge") || exit 1
    if [ "$mode" != secure ]; then
        {{
            of --names --no-stats dump-flows "$bridge" | grep actions= |
                grep -vxE ' cookie=0x0,( table=0,)? priority=0 actions=NORMAL' || :
            echo "cookie=$base,priority=0,actions=NORMAL"
        }} > "$saved.new"
        save_meters
        mv -- "$saved.new" "$saved"
        ovs-vsctl --timeout=10 set-fail-mode "$bridge" secure || exit 1
    fi
    whole || restore
}}
watch() {{
    exec 8> "${{saved%.flows}}.lock"
    flock -n 8 || exit 0
    while [ -e "$saved" ]; do
        if [ -S "${{OVS_RUNDIR:-/run/openvswitch}}/$bridge.mgmt" ] && of show "$bridge" > /dev/null 2>&1; then
            whole || restore
            # A line means that flows have changed; what follows within a tenth of a second is saved with it.
            stdbuf -oL ovs-ofctl monitor "$bridge" watch: 2>&1 |
                while read -r _; do timeout 0.1 cat > /dev/null; save; done 8>&-
        fi
        sleep 0.05
    done
}}
"$1"
"""

KEEPER = f"{paths.FLOWS}/keep"

# A keeper of an earlier version is ended with what it has started, and has ended when its lock is free.
SECURE = """
directory=$1 bridge=$2
umask 077
[ -d "$directory" ] || mkdir -p -- "$directory"
printf '%s' "$3" > "$directory/keep.new"
if [ -e "$directory/keep" ] && ! cmp -s -- "$directory/keep.new" "$directory/keep"; then
    here=$(readlink /proc/self/ns/mnt)
    for file in $(printf '%s\\n' "$directory/keep" | grep -lszFx -f - /proc/[0-9]*/cmdline); do
        process=${file%/cmdline}
        case $(tr '\\0' ' ' < "$file") in *" watch $bridge ") ;; *) continue ;; esac
        if [ "$(readlink "$process/ns/mnt")" != "$here" ]; then continue; fi
        kill -- "-${process#/proc/}" 2> /dev/null || :
    done
    flock -w 5 "$directory/$bridge.lock" true
fi
mv -- "$directory/keep.new" "$directory/keep"
sh "$directory/keep" convert "$bridge"
setsid -f sh "$directory/keep" watch "$bridge" < /dev/null > /dev/null 2>&1
"""


def guarded(flows: Mapping[int, frozenset[Flow]]) -> bool:
    """Return whether a bridge fails closed and has had its flows loaded, by our flows on it."""
    return flows.get(BASE_COOKIE) == _BASE


def secure(bridge: str) -> Command:
    """Return the command that makes a bridge fail closed, with its flows, and starts its keeper."""
    return script(SECURE, paths.FLOWS, bridge, KEEP)
