#!/bin/bash
# docs.sh - the documentation says what is so: every public call has a man page with its prototype,
# and the programs in the pages compile without warnings and print what the pages show
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
export LC_ALL=C LADLE_REPLAY_DIR=
failures=0

verdict() {
    if [ "$1" -eq 0 ]; then
        echo "pass: $2"
    else
        echo "FAIL: $2"
        failures=$((failures + 1))
    fi
}

# without_comments HEADER...: on one line
without_comments() {
    cat "$@" | "${cc[@]}" -x c -fpreprocessed -dD -E -P - | tr '\n' ' ' | tr -s ' '
}

# The prototypes of the public headers, a line each, as the pages show them. (In task.h a session
# is a struct futures: it does not include futures.h.)
header_prototypes() {
    without_comments "$source"/client/{futures,task,ladle-protobuf}.h |
        grep -oE '(LADLE_API|typedef) [^;{}]*\([^;{}]*\);' |
        sed 's/^LADLE_API //; s/ __attribute__.*;$/;/; s/^struct futures \*/futures_t */'
}

# Those in the synopsis of a page
page_prototypes() {
    sed -n '/^\.SH SYNOPSIS/,/^\.SH DESCRIPTION/p' "$man/$1" | grep -v '^\.' |
        sed 's/\\f[BIR]//g; s/\\&//g; s/^TASK(function)$//' | tr '\n' ' ' | tr -s ' ' |
        grep -oE '[A-Za-z][^;>]*\([^;]*\);'
}

every_call_has_a_page() {
    local call n=0
    while read -r call; do
        n=$((n + 1))
        [ -s "$man/$call.3" ] || verdict 1 "$call has no page"
    done <calls
    [ "$n" -gt 60 ]
    verdict $? "the pages of $n calls"
}

# The prototypes of a page are those of the headers, word for word.
same_prototypes() {
    local page=$1 n=0 line name
    page_prototypes "$page" >"$page.synopsis"
    while read -r line; do
        n=$((n + 1))
        grep -qxF -- "$line" headers && continue
        name=$(grep -oE '[a-z_]+\(' <<<"$line" | head -n 1)
        echo "$page: $line"
        echo "header: $(grep -F -- "$name" headers | head -n 1)"
        verdict 1 "$page has the prototypes of the headers"
    done <"$page.synopsis"
    [ "$n" -gt 0 ]
    verdict $? "$page has $n prototypes of the headers"
}

# The programs of a page are the blocks with a main(); the block behind each is what it prints, in
# its first line perhaps how it is called: $ ./program argument... A block that begins with the
# comment // NAME.proto is that file, made into NAME.pb-c.h and NAME.pb-c.c for the programs behind.
page_programs() {
    local page=$1
    rm -f "$page".[0-9]*
    awk -v page="$page" '
        /^# /        { examples = /^# EXAMPLES?$/ }
        !examples    { next }
        /^```$/ && inside { inside = 0; close(block); next }
        /^```$/      { inside = 1; block = page "." ++n ".block"; printf "" >block; next }
        inside       { gsub(/\\\\/, "\\"); print >block }' "$source/docs/$page.scd"
    local block name program='' n=0
    for block in $(seq -f "$page.%g.block" 20); do
        [ -e "$block" ] || break
        if grep -q '^syntax = ' "$block"; then
            name=$(sed -n '1s|^// \(.*\.proto\)$|\1|p' "$block")
            mv "$block" "$name" && protoc-c --c_out=. "$name"
            verdict $? "$page has $name"
        elif grep -q '^main(' "$block"; then
            [ -z "$program" ] || verdict 1 "$page shows what program $n prints"
            n=$((n + 1)) program=$page.$n
            mv "$block" "$program.c"
        elif [ -n "$program" ]; then
            page_program "$program" "$block"
            program=''
        fi
    done
    [ "$n" -gt 0 ] && [ -z "$program" ]
    verdict $? "$page has $n programs, and what they print"
}

# page_program PROGRAM EXPECTED: compiles it; it prints the same everywhere
page_program() {
    local program=$1 expected=$2 arguments=() sources=("$1.c") file way status
    if [ "$(head -c 2 "$expected")" = '$ ' ]; then
        read -r -a arguments < <(head -n 1 "$expected")
        arguments=("${arguments[@]:2}")
        sed -i 1d "$expected"
    fi
    while read -r file; do
        sources+=("$file.c" -lprotobuf-c)
    done < <(grep -oE '^#include "[a-z]+\.pb-c' "$program.c" | cut -d'"' -f2)
    "${cc[@]}" "${sources[@]}" -o "$program" "${link[@]}" >"$program.log" 2>&1
    status=$?
    head -n 20 "$program.log"
    verdict $status "$program compiles"
    [ $status -eq 0 ] || return
    for way in serial local:2 grid; do
        local run=(env "LADLE_BROKER=$way")
        [ $way = grid ] && run=("$bin/ladle" run -n 2 --)
        timeout 200 "${run[@]}" "./$program" "${arguments[@]}" \
            >"$program.out" 2>"$program.log" </dev/null
        status=$?
        head -n 20 "$program.log"
        diff -u "$expected" "$program.out" && [ $status -eq 0 ]
        verdict $? "$program prints what its page shows ($way; exit status $status)"
    done
}

# readme_block N: the Nth piece of C in README
readme_block() {
    awk -v n="$1" '/^```$/ {inside = 0} inside {print} /^```c$/ {inside = ++k == n}' \
        "$source/README.md"
}

# The pieces of README, put together as it says.
readme_programs() {
    local main='int
main(void)
{
    futures_t *futures = futures_new(NULL);
    double numbers[1000];
    long n = 20;
    void *fib;

    for (int i = 0; i < 1000; i++)
        numbers[i] = i;
    if (futures_call(futures, "fib", &n, sizeof(n), &fib, NULL, NULL) != 0) {
        fprintf(stderr, "%s\n", futures_error());
        return 1;
    }
    printf("%ld\n", *(long *)fib);
    free(fib);'
    {
        echo '#include <stdlib.h>'
        readme_block 1 | sed '/^TASK/q'
        readme_block 2
        readme_block 3
        echo "$main"
        readme_block 4
        printf '    futures_destroy(&futures);\n    return 0;\n}\n'
    } >README.c
    printf '6765\n332833500\n' >README.expected
    page_program README README.expected
}

# The tables of api.md have every call, and no other; a test calls it.
every_call_is_in_the_table() {
    local call
    grep -oE '`(futures|future|results|task)_[a-z_]+[`(]' "$source/docs/api.md" | tr -d '`(' |
        grep -vE '_(t|row)$' | sort -u >api.calls
    sort calls | diff -u - api.calls
    verdict $? "api.md has the calls of the headers"
    cat "$source"/tests/system/test_{api,client}*.c >callers
    while read -r call; do
        grep -qE "\<$call((_and|_task)_[a-z_]*)?_row\)" callers ||
            verdict 1 "the row of $call in api.md has a test"
    done < <(sed '/^## With protobuf-c/,$d' "$source/docs/api.md" |
        sed -nE 's/^\| (`([a-z_]*)`|([a-z, ]*):).*/\2\3/p' | sed 's/,* /_/g')
    while read -r call; do
        grep -q "\<$call(" callers || verdict 1 "$call is called in test_api*.c or test_client*.c"
    done <calls
}

# every_member_is_told STRUCT PAGE
every_member_is_told() {
    local struct=$1 page=$2 member n=0
    while read -r member; do
        n=$((n + 1))
        grep -qE -- "^\*.*\<${member}[*)]" "$source/docs/$page.scd" ||
            verdict 1 "$struct.$member is told in $page"
    done < <(without_comments "$source/client/futures.h" |
        sed "s/} $struct;.*//; s/.*typedef struct {//" | tr ';' '\n' |
        sed 's/(\*\([a-z_]*\)).*/ \1/' | grep -oE '[a-z_]+ *$')
    [ "$n" -gt 10 ]
    verdict $? "$n members of $struct in $page"
}

# What pages and documents refer to is there.
references() {
    local name section file target
    while IFS='(' read -r name section; do
        [ "$section:$name" = 3:free ] || [ -s "$man/$name.$section" ] ||
            verdict 1 "$name($section), to which pages refer, is there"
    done < <(cat "$source"/docs/*.scd | grep -oE '\*[a-z_-]+\*\([13]\)' | tr -d '*)' | sort -u)
    for file in "$source"/*.md "$source"/docs/*.md; do
        while read -r target; do
            [ -e "$(dirname "$file")/$target" ] ||
                verdict 1 "$target, to which $(basename "$file") links, is there"
        done < <(grep -oE '\]\([^)#]+' "$file" | sed 's/^](//' | grep -v '^http')
    done
    sed -n '/^## Examples/,/^## More/s/^- `\([a-z_]*\)`:.*/\1/p' "$source/README.md" |
        sort >readme.examples
    for file in "$source"/examples/*.c "$source"/examples/*.cpp; do
        basename "${file%.*}"
    done | sort | diff -u readme.examples -
    verdict $? "README has a line for each example"
    verdict 0 "references"
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
    LADLE_BROKER=$broker timeout 200 ./client 'hello, grid' >client.out 2>client.err
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

header_prototypes >headers
grep -v '^typedef ' headers | grep -oE '[a-z_]+\(' | tr -d '(' >calls
every_call_has_a_page
for page in "$source"/docs/*.3.scd; do
    page=$(basename "$page" .scd)
    [ "$page" = ladle.3 ] || same_prototypes "$page"
done
sort headers >expected.prototypes
cat ./*.synopsis | sort -u | comm -23 expected.prototypes - >untold
cat untold
[ ! -s untold ]
verdict $? "every prototype is in a synopsis"
every_member_is_told futures_config_t futures_new.3
every_member_is_told task_options_t futures_submit.3
every_call_is_in_the_table
references
for page in "$source"/docs/*.3.scd; do
    page_programs "$(basename "$page" .scd)"
done
readme_programs
"$source/tests/system/exchange.py" "$source/docs/protocol.md"
verdict $? "the executor in protocol.md answers byte for byte"
"$source/tests/system/exchange.py" "$source/docs/protocol.md" ./futures_submit.3.1
verdict $? "an executor in C gives the same results in that exchange"
named_program
help_page ladle-broker ladle-broker.1
help_page ladle-worker ladle-worker.1
help_page ladle ladle-run.1 run
help_page ladle ladle-status.1 status

echo "docs: $failures failed"
[ "$failures" -eq 0 ]
