#!/bin/sh
# The libraries show programs the calls of the public headers, and nothing else.
# usage: exports.sh libladle.so libladle.a client/
# shellcheck disable=SC2034,SC2154 # by name, below
set -eu

declared=$(cat "$3"/futures.h "$3"/task.h "$3"/ladle-protobuf.h | tr '\n' ' ' |
    grep -oE 'LADLE_API [^;(]*[a-z_0-9]+\(' | grep -v __attribute__ | sed 's/($//; s/.*[ *]//' | sort)
shared=$(nm -D --defined-only "$1" | awk '$2 == "T" { print $3 }' | sed 's/@.*//' | sort)
static=$(nm -g --defined-only "$2" | awk '$2 ~ /[A-Z]/ && NF == 3 { print $3 }' |
    grep -v '^__odr_asan' | sort)

for library in shared static; do
    eval "names=\$$library"
    if [ "$names" != "$declared" ]; then
        echo "the $library library does not show what the headers declare:"
        echo "$declared" > "${TMPDIR:-/tmp}/declared.$$"
        echo "$names" | diff "${TMPDIR:-/tmp}/declared.$$" - || true
        rm -f "${TMPDIR:-/tmp}/declared.$$"
        exit 1
    fi
done
