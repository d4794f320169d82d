#!/bin/bash
# row.sh - run the test of a row, and see that it ran
#
#   row.sh ROW [--as TEST] COMMAND...    TEST: what the program calls it, if not ROW
#
# A filter that matches nothing would pass.
set -u
test=$1
shift
if [ "$1" = --as ]; then
    test=$2
    shift 2
fi
"$@" 2>&1 | tee /dev/stderr | grep -E "(OK|SKIPPED) \\] $test\$" >/dev/null || exit 1
exit "${PIPESTATUS[0]}"
