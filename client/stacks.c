#include "stacks.h"

#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__)
#define WITH_ASAN
#elif defined(__SANITIZE_THREAD__)
#define WITH_TSAN
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define WITH_ASAN
#elif __has_feature(thread_sanitizer)
#define WITH_TSAN
#endif
#endif
#ifdef WITH_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#ifdef WITH_TSAN
#include <sanitizer/tsan_interface.h>
#endif
#if defined(__has_include)
#if __has_include(<valgrind/valgrind.h>)
#include <valgrind/valgrind.h>
#endif
#endif
#ifndef VALGRIND_STACK_REGISTER
#define VALGRIND_STACK_REGISTER(low, high) 0
#endif

#if (defined(__x86_64__) && defined(__LP64__)) || defined(__aarch64__)
#define OWN_SWITCH /* a tenth of the time of swapcontext(), which asks the kernel twice */
#else
#include <ucontext.h>
#endif

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102 /* Linux 6.13 */
#endif

enum {
    GUARD = 64 << 10, /* also catches frames that jump over a page */
    SLAB = 64,        /* stacks that are mapped together */
    WARM = 64,        /* free ones that keep their pages */
    DEEP = 64 << 10,  /* more than that is given back of these, too */
    SHIFT = 1 << 20,  /* a stack's top and the next one's guard share a page of the page table */
};

struct stack {
    struct stack *next; /* free ones */
    char *low, *high;   /* what may be used */
#ifdef OWN_SWITCH
    void *at;
#else
    ucontext_t at;
#endif
#ifdef WITH_ASAN
    void *fake;
#endif
#ifdef WITH_TSAN
    void *fiber;
    unsigned uses;
#endif
};

static struct {
    size_t size;   /* as asked for */
    size_t stride; /* from one to the next, with a guard */
    void (*entry)(void);
    struct stack first; /* the thread's own */
    struct stack *current;
    struct stack *left; /* for good, a moment ago */
    struct stack *warm, *cold;
    unsigned nwarm;
    bool used; /* since the last stacks_trim() */
    uint32_t float_control[2];
} stacks;

static void enter(void) __attribute__((noreturn));

/* ---- the switch -------------------------------------------------------------------------------
 */

#ifdef OWN_SWITCH
/* Save what a call must keep on this stack, its pointer in *from, and go on where `to` was saved.
 */
void stacks_jump(void **from, void *to);

#ifdef __x86_64__
__asm__(".text\n"
        ".p2align 4\n"
        ".globl stacks_jump\n"
        ".hidden stacks_jump\n"
        ".type stacks_jump, @function\n"
        "stacks_jump:\n"
        "    .cfi_startproc\n"
        "    endbr64\n"
        "    pushq %rbp\n"
        "    pushq %rbx\n"
        "    pushq %r12\n"
        "    pushq %r13\n"
        "    pushq %r14\n"
        "    pushq %r15\n"
        "    subq $8, %rsp\n"
        "    stmxcsr (%rsp)\n"
        "    fnstcw 4(%rsp)\n"
        "    movq %rsp, (%rdi)\n"
        "    movq %rsi, %rsp\n"
        "    ldmxcsr (%rsp)\n"
        "    fldcw 4(%rsp)\n"
        "    addq $8, %rsp\n"
        "    popq %r15\n"
        "    popq %r14\n"
        "    popq %r13\n"
        "    popq %r12\n"
        "    popq %rbx\n"
        "    popq %rbp\n"
        "    ret\n"
        "    .cfi_endproc\n"
        ".size stacks_jump, .-stacks_jump\n");

static void
begin_frame(struct stack *s)
{
    uint64_t *at = (uint64_t *)(void *)(s->high - 32); /* aligned as for a call */

    at[1] = 0; /* it returns nowhere */
    at[0] = (uint64_t)(uintptr_t)enter;
    for (int i = 0; i < 6; i++)
        *--at = 0;
    *--at = (uint64_t)stacks.float_control[1] << 32 | stacks.float_control[0];
    s->at = at;
}

static void
note_floats(void)
{
    __asm__ volatile("stmxcsr %0" : "=m"(stacks.float_control[0]));
    __asm__ volatile("fnstcw %0" : "=m"(stacks.float_control[1]));
    stacks.float_control[1] &= 0xffff;
}
#else
__asm__(".text\n"
        ".p2align 4\n"
        ".globl stacks_jump\n"
        ".hidden stacks_jump\n"
        ".type stacks_jump, %function\n"
        "stacks_jump:\n"
        "    hint #34\n" /* bti c */
        "    sub sp, sp, #176\n"
        "    stp x19, x20, [sp, #0]\n"
        "    stp x21, x22, [sp, #16]\n"
        "    stp x23, x24, [sp, #32]\n"
        "    stp x25, x26, [sp, #48]\n"
        "    stp x27, x28, [sp, #64]\n"
        "    stp x29, x30, [sp, #80]\n"
        "    stp d8, d9, [sp, #96]\n"
        "    stp d10, d11, [sp, #112]\n"
        "    stp d12, d13, [sp, #128]\n"
        "    stp d14, d15, [sp, #144]\n"
        "    mrs x9, fpcr\n"
        "    str x9, [sp, #160]\n"
        "    mov x9, sp\n"
        "    str x9, [x0]\n"
        "    mov sp, x1\n"
        "    ldr x9, [sp, #160]\n"
        "    msr fpcr, x9\n"
        "    ldp x19, x20, [sp, #0]\n"
        "    ldp x21, x22, [sp, #16]\n"
        "    ldp x23, x24, [sp, #32]\n"
        "    ldp x25, x26, [sp, #48]\n"
        "    ldp x27, x28, [sp, #64]\n"
        "    ldp x29, x30, [sp, #80]\n"
        "    ldp d8, d9, [sp, #96]\n"
        "    ldp d10, d11, [sp, #112]\n"
        "    ldp d12, d13, [sp, #128]\n"
        "    ldp d14, d15, [sp, #144]\n"
        "    add sp, sp, #176\n"
        "    ret\n"
        ".size stacks_jump, .-stacks_jump\n");

static void
begin_frame(struct stack *s)
{
    uint64_t *at = (uint64_t *)(void *)(s->high - 176);

    memset(at, 0, 176);
    at[11] = (uint64_t)(uintptr_t)enter; /* x30 */
    at[20] = stacks.float_control[0];
    s->at = at;
}

static void
note_floats(void)
{
    uint64_t fpcr;

    __asm__ volatile("mrs %0, fpcr" : "=r"(fpcr));
    stacks.float_control[0] = (uint32_t)fpcr;
}
#endif

static void
jump(struct stack *from, struct stack *to)
{
    stacks_jump(&from->at, to->at);
}
#else
static void
begin_frame(struct stack *s)
{
    getcontext(&s->at);
    s->at.uc_stack.ss_sp = s->low;
    s->at.uc_stack.ss_size = (size_t)(s->high - s->low);
    s->at.uc_link = NULL;
    makecontext(&s->at, enter, 0);
}

static void
note_floats(void)
{
}

static void
jump(struct stack *from, struct stack *to)
{
    swapcontext(&from->at, &to->at);
}
#endif

/* ---- memory -----------------------------------------------------------------------------------
 */

static int
guard(char *at)
{
    /* A guard of this kind does not split the mapping, of which a process has only so many. */
    if (madvise(at, GUARD, MADV_GUARD_INSTALL) == 0)
        return 0;
    return mprotect(at, GUARD, PROT_NONE);
}

static void
add_cold(struct stack *s)
{
    s->next = stacks.cold;
    stacks.cold = s;
}

/* The limit of data may be there to stop a task that maps too much. Stacks are only reserved: they
 * come on top. */
static bool
allow(size_t size)
{
    struct rlimit limit;
    rlim_t before;

    if (getrlimit(RLIMIT_DATA, &limit) != 0 || limit.rlim_cur >= limit.rlim_max)
        return false;
    before = limit.rlim_cur;
    limit.rlim_cur = size < limit.rlim_max - before ? before + size : limit.rlim_max;
    return setrlimit(RLIMIT_DATA, &limit) == 0;
}

static void *
reserve(size_t size)
{
    void *at = MAP_FAILED;

    for (int i = 0; i < 2 && at == MAP_FAILED; i++) {
        if (i > 0 && !allow(size))
            break;
        at = mmap(NULL, size, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
    }
    return at;
}

/* Map `count` more. */
static int
grow(size_t count)
{
    size_t stride = stacks.stride;
    struct stack *some = calloc(count, sizeof(*some));
    char *at;

    if (some == NULL)
        return -1;
    at = reserve(count * stride + 2 * SHIFT);
    if (at == MAP_FAILED) {
        free(some);
        errno = ENOMEM;
        return -1;
    }
    /* A huge page for each stack's few bytes would be a waste. */
    (void)madvise(at, count * stride + 2 * SHIFT, MADV_NOHUGEPAGE);
    at += (SHIFT - (uintptr_t)at) & (2 * SHIFT - 1);
    for (size_t i = 0; i < count; i++, at += stride) {
        if (guard(at) != 0) { /* an older kernel, and vm.max_map_count is reached */
            (void)munmap(at, (count - i) * stride);
            if (i == 0)
                free(some);
            return i > 0 ? 0 : -1;
        }
        some[i].low = at + GUARD;
        some[i].high = at + stride;
        (void)VALGRIND_STACK_REGISTER(some[i].low, some[i].high);
        add_cold(&some[i]);
    }
    return 0;
}

int
stacks_reserve(void)
{
    if (stacks.warm != NULL || stacks.cold != NULL)
        return 0;
    return grow(SLAB) == 0 ? 0 : grow(1);
}

static struct stack *
take(void)
{
    struct stack *s = stacks.warm != NULL ? stacks.warm : stacks.cold;

    assert(s != NULL); /* reserved */
    if (s == stacks.warm) {
        stacks.warm = s->next;
        stacks.nwarm--;
    } else {
        stacks.cold = s->next;
    }
    begin_frame(s);
#ifdef WITH_TSAN
    /* Dear to make. But what was left for good stays on its list of calls, which is of some length.
     */
    if (s->uses++ % 1000 == 0) {
        if (s->fiber != NULL)
            __tsan_destroy_fiber(s->fiber);
        s->fiber = __tsan_create_fiber(0);
    }
#endif
#ifdef WITH_ASAN
    s->fake = NULL;
#endif
    return s;
}

static void
give_back(struct stack *s)
{
    stacks.used = true;
    if (stacks.nwarm < WARM) {
        s->next = stacks.warm;
        stacks.warm = s;
        stacks.nwarm++;
        return;
    }
    (void)madvise(s->low, (size_t)(s->high - s->low), MADV_DONTNEED);
    add_cold(s);
}

bool
stacks_used(void)
{
    return stacks.used;
}

void
stacks_trim(void)
{
    stacks.used = false;
    for (struct stack *s = stacks.warm; s != NULL; s = s->next)
        if (s->high - s->low > DEEP)
            (void)madvise(s->low, (size_t)(s->high - s->low) - DEEP, MADV_DONTNEED);
}

/* ---- from one to another ----------------------------------------------------------------------
 */

/* The first thing on a stack that was entered. */
static void
arrive(void)
{
#ifdef WITH_ASAN
    __sanitizer_finish_switch_fiber(stacks.current->fake, NULL, NULL);
#endif
    if (stacks.left != NULL)
        give_back(stacks.left);
    stacks.left = NULL;
}

static void __attribute__((noreturn)) enter(void)
{
    arrive();
    stacks.entry();
    abort(); /* it does not return */
}

static void
leave(struct stack *to, bool for_good)
{
    struct stack *from = stacks.current;

    stacks.current = to;
    stacks.left = for_good ? from : NULL;
#ifdef WITH_ASAN
    if (for_good) {
        char *here = __builtin_frame_address(0);

        /* What stands here ends without having cleaned up behind it. */
        __asan_unpoison_memory_region(here - 1024, (size_t)(from->high - here) + 1024);
    }
    __sanitizer_start_switch_fiber(for_good ? NULL : &from->fake, to->low,
                                   (size_t)(to->high - to->low));
#endif
#ifdef WITH_TSAN
    __tsan_switch_to_fiber(to->fiber, 0);
#endif
    jump(from, to);
    arrive();
}

void
stacks_switch(struct stack *to)
{
    leave(to, false);
}

void
stacks_switch_to_new(void)
{
    leave(take(), false);
}

void
stacks_abandon(struct stack *to)
{
    leave(to, true);
    abort();
}

struct stack *
stacks_current(void)
{
    return stacks.current;
}

/* ---- beginning -------------------------------------------------------------------------------
 */

bool
stacks_full(const void *address, size_t *size_p)
{
    const struct stack *s = stacks.current;
    const char *at = address;

    *size_p = stacks.size;
    return s != NULL && s != &stacks.first && at < s->low && at >= s->low - GUARD;
}

void
stacks_open(size_t size, void (*entry)(void))
{
    stacks.size = size;
    stacks.stride = size + GUARD;
    if (size >= SHIFT)
        stacks.stride = (stacks.stride + 2 * SHIFT - 1) & ~(size_t)(2 * SHIFT - 1);
    stacks.entry = entry;
    stacks.current = &stacks.first;
    note_floats();
#ifdef WITH_TSAN
    stacks.first.fiber = __tsan_get_current_fiber();
#endif
}
