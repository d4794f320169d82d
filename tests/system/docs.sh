#!/bin/bash
# docs.sh - the documentation says what is so: every public call has a man page, and every complete
# program in the pages compiles without warnings and prints what it should
#
#   docs.sh SOURCE MAN BIN LIB CC [FLAG]...    SOURCE: the top of the tree; MAN, BIN, LIB: what was
#                                             built; FLAG: for the compiler
# shellcheck disable=SC2016
set -u
source=$1 man=$2 bin=$3 lib=$4
shift 4
cc=("$@" -std=gnu17 -Wall -Wextra -Werror -I"$source/client")
link=(-L"$lib" -lladle "-Wl,-rpath,$lib")
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir" || exit 1
export LC_ALL=C LADLE_BROKER=local:2
failures=0

verdict() {
    if [ "$1" -eq 0 ]; then
        echo "pass: $2"
    else
        echo "FAIL: $2"
        failures=$((failures + 1))
    fi
}

calls() {
    # the name before the first parenthesis of each LADLE_API declaration
    sed -n '/^LADLE_API/,/;/p' "$source"/client/{futures,task}.h | tr '\n' ' ' |
        grep -oE 'LADLE_API [^;(]*\(' | grep -oE '[a-z_]+\($' | tr -d '('
}

every_call_has_a_page() {
    local call n=0
    while read -r call; do
        n=$((n + 1))
        [ -s "$man/$call.3" ] || verdict 1 "$call has no page"
    done < <(calls)
    [ "$n" -gt 60 ]
    verdict $? "the pages of $n calls"
}

# page_program PAGE EXPECTED-OUTPUT [ARGUMENT]...
page_program() {
    local page=$1 expected=$2
    shift 2
    sed -n '/^# EXAMPLE/,/^# SEE ALSO/p' "$source/docs/$page.scd" |
        sed -n '/^```$/,/^```$/{/^```/!p}' | sed 's/\\\\/\\/g' >"$page.c"
    "${cc[@]}" "$page.c" -o "$page.program" "${link[@]}" >"$page.log" 2>&1 &&
        timeout 60 "./$page.program" "$@" >"$page.out" 2>>"$page.log" </dev/null
    local status=$?
    if [ $status -eq 0 ] && grep -qxE -- "$expected" <(tr '\n' '|' <"$page.out"); then
        verdict 0 "the program in $page"
    else
        echo "exit status $status, output:"
        head -n 20 "$page.log" "$page.out"
        verdict 1 "the program in $page"
    fi
}

# help_page PROGRAM PAGE ARGUMENT...: each long option of --help is on the page, and the reverse
help_page() {
    local program=$1 page=$2
    shift 2
    timeout 10 "$bin/$program" "$@" --help 2>&1 | grep -oE -- '^ {1,6}(-., *)?--[a-z-]+' |
        grep -oE -- '--[a-z-]+' | grep -vxE -- '--(help|usage|version)' | sort -u >help.options
    sed -n '/^# OPTIONS/,/^# [^O]/p' "$source/docs/$page.scd" |
        grep -E '^\*' | grep -oE -- '--[a-z-]+' | grep -vxE -- '--(help|version)' | sort -u >page.options
    diff -u help.options page.options
    verdict $? "$page has the options of $program${*:+ $*}"
}

# The executor in protocol.md, offered by a worker under a name, and used by a program in C.
named_program() {
    local broker=ipc://$dir/broker pids=() line status
    sed -n '/^```python$/,/^```$/{/^```/!p}' "$source/docs/protocol.md" >shouter.py
    chmod +x shouter.py
    cat >client.c <<'END_OF_C'
#include <ladle.h>

int
main(int argc, char **argv)
{
    futures_t *futures = futures_open(&(futures_config_t){.program = "shouter"});
    future_t *good, *bad;
    const char *text;
    size_t size;

    if (argc != 2 || futures == NULL || futures_wait_for_slots(futures, 1, 30000) != 0) {
        fprintf(stderr, "%s\n", futures_error());
        return 1;
    }
    good = futures_submit(futures, "shout", argv[1], __builtin_strlen(argv[1]), NULL);
    bad = futures_submit(futures, "whisper", NULL, 0, NULL);
    if ((text = future_result(good, &size)) != NULL)
        printf("%.*s\n", (int)size, text);
    else
        printf("%s\n", future_error(good));
    future_wait(bad, -1);
    printf("%s\n", future_status_name(future_status(bad)));
    future_destroy(&good);
    future_destroy(&bad);
    futures_destroy(&futures);
    return 0;
}
END_OF_C
    "${cc[@]}" client.c -o client "${link[@]}"
    mkfifo ready
    "$bin/ladle-broker" --bind "$broker" >ready 2>broker.log &
    pids+=($!)
    read -r -t 30 line <ready
    "$bin/ladle-worker" --broker "$broker" --slots 1 --directory "$dir/worker" \
        --program "shouter=$dir/shouter.py" >worker.log 2>&1 &
    pids+=($!)
    LADLE_BROKER=$broker timeout 60 ./client 'hello, grid' >client.out 2>client.err
    status=$?
    kill "${pids[@]}"
    wait "${pids[@]}" 2>/dev/null
    if [ $status -eq 0 ] && [ "$(tr '\n' '|' <client.out)" = 'HELLO, GRID|REJECTED|' ]; then
        verdict 0 "the executor in protocol.md serves a program by name"
    else
        echo "exit status $status, readiness '$line'"
        head -n 20 client.out client.err broker.log worker.log
        verdict 1 "the executor in protocol.md serves a program by name"
    fi
}

every_call_has_a_page
"$source/tests/system/exchange.py" "$source/docs/protocol.md"
verdict $? "the executor in protocol.md answers byte for byte"
page_program ladle.3 '1 4 9 16\|'
page_program futures_new.3 '42, on 2 slots\|'
page_program futures_submit.3 'HELLO\|WORLD\|' hello world
"$source/tests/system/exchange.py" "$source/docs/protocol.md" ./futures_submit.3.program
verdict $? "an executor in C gives the same results in that exchange"
page_program future_result.3 'slept 100 ms on .*\|slept 300 ms on .*\|'
page_program futures_map.3 '14.392727\|'
page_program task.3 '4 168 9592\|'
named_program
help_page ladle-broker ladle-broker.1
help_page ladle-worker ladle-worker.1
help_page ladle ladle-run.1 run
help_page ladle ladle-status.1 status

echo "docs: $failures failed"
[ "$failures" -eq 0 ]
