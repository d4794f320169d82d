#!/bin/bash
# table.sh - docs/faults.md and the tests of its rows agree
#
#   table.sh DOCS/faults.md ROWS     ROWS has the names of all tests, one a line
#
# Every test that the table names is there, every test of a row is in the table, and no number from
# 1 to 30 is missing. A row without a test says so with a dash.
set -euo pipefail
table=$1 rows=$2 status=0

complain() {
    echo "faults.md: $*"
    status=1
}

# shellcheck disable=SC2016 # those are no variables
named=$(grep '^|' "$table" | grep -oE '`(row_[0-9]{2}|extra)_[a-z0-9_]+`' | tr -d '`' | sort -u)
for test in $named; do
    grep -qx "$test" "$rows" || complain "there is no test $test"
done
while read -r test; do
    grep -qx "$test" <<<"$named" || complain "the table does not have $test"
done <"$rows"
for number in $(seq 30); do
    line=$(grep -E "^\| *$number *\|" "$table") || {
        complain "there is no row $number"
        continue
    }
    IFS='|' read -r _ _ _ test _ <<<"$line"
    case $test in
    *"\`row_$(printf %02d "$number")_"*) ;;
    ' – ') ;;
    *) complain "row $number: '$test' is no test of that row" ;;
    esac
done
exit "$status"
