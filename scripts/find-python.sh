#!/bin/sh
# Prints the path of a Python of 3.11 or later that can make virtual environments; $PYTHON, if set, is the only candidate.
set -eu

test='import sys, venv, ensurepip
assert sys.version_info >= (3, 11)
print(sys.executable)'

for candidate in ${PYTHON:-python3 python3.11 python3.12 python3.13 python3.14 /usr/bin/python3}; do
    found=$("$candidate" -c "$test" 2> /dev/null) || continue
    echo "$found"
    exit 0
done
echo "setup: no Python of 3.11 or later with venv and pip was found; name one with \`make setup PYTHON=/path/to/python3\`." >&2
exit 1
