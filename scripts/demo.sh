#!/bin/sh
# Brings up a lab, applies a slice to it and checks that its guests reach each other; shows every command that it runs.
#   demo.sh LAB
set -eu
lab=$1
file=examples/topologies/two-vms.yaml
slice=admin/two-vms

show() { printf '\n\033[1m$ %s\033[0m\n' "$*"; }
[ -t 1 ] && [ -z "${NO_COLOR:-}" ] || show() { printf '\n$ %s\n' "$*"; }
run() {
    show "$@"
    "$@"
}

show "export RECONCILER_CLUSTER=\$(reconciler lab up --name $lab)"
RECONCILER_CLUSTER=$(reconciler lab up --name "$lab")
export RECONCILER_CLUSTER
# The state is in the folder of the lab, and is removed with it.
show "export RECONCILER_STATE=${RECONCILER_CLUSTER%/*}/state.db"
export RECONCILER_STATE="${RECONCILER_CLUSTER%/*}/state.db"

run cat "$file"
run reconciler validate "$file"
run reconciler plan "$file"
run reconciler apply --auto-approve "$file"
run reconciler plan "$file"
run reconciler show "$slice"
run reconciler verify
run reconciler status
show "reconciler show $slice --json | python scripts/check_guests.py $lab"
reconciler show "$slice" --json | python scripts/check_guests.py "$lab"

cat << END

The cluster stays up: set the two variables above and go on, or remove all of it with \`make demo-down\`.
END
