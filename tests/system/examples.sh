#!/bin/bash
# examples.sh - one example, run in every way: the same output each time, and the right one
#
#   examples.sh EXAMPLE BIN SOURCE    BIN: where the programs are; SOURCE: the top of the tree
# shellcheck disable=SC2016,SC2018,SC2019,SC2094
set -u
example=$1 bin=$2 source=$3
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir" || exit 1
unset LADLE_BROKER
export LC_ALL=C LADLE_REPLAY_DIR=

ways=(serial local:1 local:2 grid)
failures=0
patience=200 # seconds: on two busy cores under a sanitizer, half of it was needed

# on WAY PROGRAM [ARGUMENT]...
on() {
    local way=$1
    shift
    case $way in
    grid) timeout "$patience" "$bin/ladle" run -n 2 -- "$@" ;;
    *) LADLE_BROKER=$way timeout "$patience" "$@" ;;
    esac
}

verdict() {
    if [ "$1" -eq 0 ]; then
        echo "pass: $2"
    else
        echo "FAIL: $2"
        failures=$((failures + 1))
    fi
}

# same WHAT EXPECTED-FILE FILE
same() {
    diff -u "$2" "$3" >"$dir/diff" 2>&1
    local status=$?
    head -n 20 "$dir/diff"
    verdict $status "$1"
}

# ends WHAT STATUS PATTERN COMMAND...: with that exit status, and words on standard error (of
# those that end well: anywhere)
ends() {
    local what=$1 expected=$2 pattern=$3 status
    shift 3
    timeout "$patience" "$@" >"$dir/ends.out" 2>"$dir/ends.err" </dev/null
    status=$?
    [ "$status" -ne 0 ] || cat "$dir/ends.out" >>"$dir/ends.err"
    if [ "$status" -eq "$expected" ] && grep -q -- "$pattern" "$dir/ends.err"; then
        verdict 0 "$what"
    else
        echo "exit status $status; standard error:"
        head -n 20 "$dir/ends.err"
        verdict 1 "$what"
    fi
}

# everywhere ARGUMENT...: the same standard output in every way, left in $dir/serial
everywhere() {
    local way status
    for way in "${ways[@]}"; do
        on "$way" "$bin/$example" "$@" >"$dir/$way" 2>"$dir/$way.err" </dev/null
        status=$?
        [ "$status" -eq 0 ] || head -n 20 "$dir/$way.err"
        verdict "$status" "$way: exit status $status"
        [ "$way" = serial ] || same "$way: same output as serial" "$dir/serial" "$dir/$way"
    done
}

manners() {
    ends "--help: exit status 0" 0 "^Usage: $example " "$bin/$example" --help
    ends "unknown option: a sentence, exit status 2" 2 "no option '--nonsense'" \
        "$bin/$example" --nonsense
    ends "no such broker: a sentence, exit status 1" 1 "^$example: " \
        env LADLE_BROKER=local:nonsense "$bin/$example" "$@"
}

check_square() {
    everywhere
    echo "the squares of 0 to 999 add up to 332833500" >expected
    same "right sum" expected serial
    sed -n '/^```c$/,/^```$/{/^```c$/d;/^```$/q;p}' "$source/README.md" >readme
    same "README shows this very program" "$source/examples/square.c" readme
    ends "no such broker: a sentence, exit status 1" 1 "^square: .*nonsense" \
        env LADLE_BROKER=local:nonsense "$bin/square"
}

check_pi() {
    local slots
    everywhere 50 2000
    grep -q '^pi is about 3\.1[34]' serial
    verdict $? "about pi: $(cat serial)"
    for slots in 1 2 8; do
        timeout "$patience" "$bin/pi" --slots $slots 50 2000 >slots.$slots 2>&1
        same "same digits on $slots slots" serial slots.$slots
    done
    timeout "$patience" "$bin/pi" --seed 2 50 2000 >seed 2>&1
    ! cmp -s serial seed
    verdict $? "other digits from another seed"
    ends "no number: a sentence" 2 "TASKS: 'x' is not a whole number" "$bin/pi" x
    manners
}

check_mandelbrot() {
    local way picture='160 120, black 22 %, colours 114, sum aca95b2ecc103c8d'
    for way in "${ways[@]}"; do
        on "$way" "$bin/mandelbrot" --width 160 --height 120 --tile 16 --iterations 500 \
            --where --output "$way.png" >"$way" 2>"$way.err" </dev/null
        verdict $? "$way: exit status"
        if [ "$way" = serial ]; then
            "$bin/test_picture" serial.png >facts
            grep -qx "$picture" facts
            verdict $? "a picture: $(cat facts)"
        else
            cmp serial.png "$way.png"
            verdict $? "$way: same picture"
        fi
        grep -q '^80 tiles in [0-9.]* s on [0-9]* slots of [0-9]* workers$' "$way"
        verdict $? "$way: $(head -n 1 "$way")"
        [ "$(awk '/ tiles by /{n += $1} END{print n}' "$way")" = 80 ]
        verdict $? "$way: --where accounts for every tile"
    done
    ends "unwritable file: a sentence" 1 "cannot write /nowhere/x.png" "$bin/mandelbrot" \
        --width 16 --height 16 --output /nowhere/x.png
    manners
}

check_onemax() {
    local map
    for map in serial local grid; do
        if [ $map = grid ]; then
            on grid "$bin/onemax" --map grid >$map 2>$map.err
        else
            timeout "$patience" "$bin/onemax" --map $map >$map 2>$map.err
        fi
        verdict $? "--map $map: exit status"
        [ $map = serial ] || same "--map $map: same run as serial" serial $map
    done
    tail -n 1 serial | grep -q 'best  *9[5-9]$\|best 100$'
    verdict $? "it learns: $(tail -n 1 serial)"
    [ "$(wc -l <serial)" -eq 41 ]
    verdict $? "a line for each of 41 generations"
    ends "bad map: a sentence" 2 "'x' is none of serial, local, grid" "$bin/onemax" --map x
    ends "unknown option: a sentence" 2 "no option" "$bin/onemax" --nonsense
    ends "--help: exit status 0" 0 "^Usage: $example " "$bin/onemax" --help
}

# words FILE...: what wordcount should print
words() {
    cat "$@" | tr -cs 'A-Za-z\200-\377' '\n' | tr 'A-Z' 'a-z' | grep . | sort | uniq -c |
        sort -k1,1nr -k2,2 | head -n 25 | awk '{printf "%7d %s\n", $1, $2}'
}

check_wordcount() {
    local i
    for i in {1..60}; do # over a megabyte: several chunks
        cat "$source/LICENSE" "$source"/examples/*.c
        printf 'Größe naïve 語 x%s' "$i"
    done >long
    printf 'no newline at the end' >short
    : >empty
    everywhere --top 25 long short empty
    words long <(echo) short >expected
    same "as sort | uniq -c counts" expected serial
    on grid "$bin/wordcount" --top 25 - <long >stdin 2>stdin.err
    words long >expected
    same "standard input reaches the grid" expected stdin
    ends "missing file: a sentence, the others are counted" 1 "cannot open nowhere: " \
        "$bin/wordcount" nowhere short
    grep -q '^      1 newline$' ends.out
    verdict $? "the others were counted"
    ends "no file: a sentence" 2 "which files" "$bin/wordcount"
    manners short
}

check_sweep() {
    local i
    for i in {1..20}; do
        seq "$i" | sed "s/^/$i: /"
    done >expected
    everywhere 'seq {} | sed "s/^/{}: /"' {1..20}
    same "as a loop of the shell prints" expected serial
    ends "a failure: exit status 1, its own sentence" 1 '^sweep: 2: exit status 7$' \
        "$bin/sweep" 'echo {}; [ {} -ne 2 ] || exit 7' 1 2 3
    seq 3 >expected
    same "the others print" expected ends.out
    ends "a signal: its own sentence" 1 '^sweep: 2: killed by signal 9 (Killed)$' \
        "$bin/sweep" 'echo {}; [ {} -ne 2 ] || kill -9 $$' 1 2 3
    ends "--timeout: its own sentence" 1 '^sweep: 2: .*TIMED_OUT\|^sweep: 2: .*time' \
        "$bin/sweep" --timeout 1 'echo {}; [ {} -ne 2 ] || exec sleep 1000' 1 2 3
    printf '1\n3\n' >expected
    same "the others print" expected ends.out
    ends "--status: of all" 0 '^sweep: b: exit status 0$' "$bin/sweep" --status 'true {}' a b
    ends "no {}: a sentence" 2 'no {} in' "$bin/sweep" true 1
    ends "no parameter: a sentence" 2 'which parameters' "$bin/sweep" 'echo {}'
    ends "no command: a sentence" 2 'which command' "$bin/sweep"
    manners 'echo {}' 1
}

# Both count the same primes, in an event loop.
check_poll() {
    everywhere
    echo "148933 primes below 2000000" >expected
    same "right number" expected serial
    ends "no such broker: a sentence, exit status 1" 1 "^$example: .*nonsense" \
        env LADLE_BROKER=local:nonsense "$bin/$example"
    # Most of a second of work for one slot: there are ticks, of a tenth each.
    LADLE_BROKER=local:1 timeout "$patience" "$bin/$example" >out 2>ticks
    grep -qx '[0-9]* of 40' ticks
    verdict $? "the timer goes on meanwhile"
    ! grep -qvx '[0-9]* of 40' ticks
    verdict $? "and nothing else is said"
}

check_zloop() {
    check_poll
}

check_protobuf() {
    everywhere
    printf '%s\n' "water: 18.015 g/mol" "salt: 58.440 g/mol" "glucose: 180.156 g/mol" \
        "caffeine: 194.194 g/mol" "unobtainium: unknown" >expected
    same "right masses" expected serial
    grep -q '^protobuf: weigh\[4\] on worker .*: there is no element Xx in the table$' serial.err
    verdict $? "a failed task says why: $(cat serial.err)"
    ends "no such broker: a sentence, exit status 1" 1 "^protobuf: .*nonsense" \
        env LADLE_BROKER=local:nonsense "$bin/protobuf"
}

check_resample() {
    everywhere
    grep -qx 'the median is 2.00, in 95 of 100 samples from 1\.[89][0-9] to 2\.[12][0-9]' serial
    verdict $? "a median: $(cat serial)"
    ends "an exception in a task: its words" 1 \
        '^resample: resample on worker .*: nothing has no median$' "$bin/resample" nothing
    ends "no such broker: a sentence, exit status 1" 1 "^resample: .*nonsense" \
        env LADLE_BROKER=local:nonsense "$bin/resample"
}

# first_line EXPECTED ARGUMENT...: of standard output, in every way; the time is in the second one
first_line() {
    local way expected=$1
    shift
    for way in "${ways[@]}"; do
        on "$way" "$bin/$example" "$@" >"$dir/$way" 2>"$dir/$way.err" </dev/null
        verdict $? "$way: exit status"
        [ "$(head -n 1 "$way")" = "$expected" ]
        verdict $? "$way: $(head -n 1 "$way")"
        grep -q '^[0-9.]* s: [0-9]* tasks/s$' "$way"
        verdict $? "$way: how fast"
    done
}

check_tree() {
    first_line 'a tree of 8191 tasks has 4096 leaves'
    first_line 'a tree of 1365 tasks has 1024 leaves' 5 4
    first_line 'a tree of 1 tasks has 1 leaves' 0
    ends "no number: a sentence" 2 "DEPTH: 'x' is not a whole number" "$bin/tree" x
    manners 2
}

check_detached() {
    local broker worker id
    ends "no store: a sentence" 1 'needs a broker that was started with --store' \
        env LADLE_BROKER=local:1 "$bin/detached" 10
    export LADLE_BROKER=ipc://$dir/broker
    "$bin/ladle-broker" --bind "$LADLE_BROKER" --store "$dir/store" >broker.out 2>&1 &
    broker=$!
    until grep -q ready broker.out; do sleep 0.02; done
    id=$(timeout 60 "$bin/detached" 1000)
    kill -9 $broker
    wait $broker 2>/dev/null
    "$bin/ladle-broker" --bind "$LADLE_BROKER" --store "$dir/store" >broker.out 2>&1 &
    broker=$!
    "$bin/ladle-worker" --broker "$LADLE_BROKER" --slots 2 --directory "$dir/worker" >worker.out 2>&1 &
    worker=$!
    until grep -q ready broker.out; do sleep 0.02; done
    ends "the results, after the end of program and broker" 0 \
        '^the sum of 1000 squares is 332833500$' "$bin/detached" 1000 "$id"
    ends "an unknown id: a sentence" 1 'has no such job' \
        "$bin/detached" 1000 00000000000000000000000000000000
    kill $worker $broker
    wait
}

check_fibonacci() {
    first_line 'fibonacci(20) is 6765, by 21891 tasks'
    first_line 'fibonacci(1) is 1, by 1 tasks' 1
    ends "no number: a sentence" 2 "N: 'x' is not a whole number" "$bin/fibonacci" x
    manners 2
}

check_quicksort() {
    local way
    everywhere 300000
    grep -q '^300000 numbers in order, from 0 to 99999[0-9]$' serial
    verdict $? "in order: $(cat serial)"
    everywhere 1
    for way in serial local:2; do
        LADLE_BROKER=$way timeout "$patience" "$bin/quicksort" --seed 9 100000 >$way 2>&1
        verdict $? "$way: other numbers: $(cat $way)"
    done
    ends "no number: a sentence" 2 "COUNT: 'x' is not a whole number" "$bin/quicksort" x
    manners 10
}

"check_$example"
echo "$example: $failures failed"
[ "$failures" -eq 0 ]
