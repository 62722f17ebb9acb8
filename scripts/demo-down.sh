#!/bin/sh
# Destroys the demo's slice, then its lab with all its files; a lab that no longer answers goes all the same.
#   demo-down.sh LAB
set -eu
lab=$1
slice=admin/two-vms

run() {
    printf '\n$ %s\n' "$*"
    "$@"
}

if lab_status=$(reconciler lab status --name "$lab" --json 2> /dev/null); then
    RECONCILER_CLUSTER=$(printf '%s' "$lab_status" | python -c 'import json, sys; print(json.load(sys.stdin)["cluster"])')
    export RECONCILER_CLUSTER
    export RECONCILER_STATE="${RECONCILER_CLUSTER%/*}/state.db"
    if [ -e "$RECONCILER_STATE" ]; then
        run reconciler destroy --auto-approve "$slice" || echo "The slice could not be destroyed; it goes with the lab."
    fi
fi
run reconciler lab down --name "$lab"
