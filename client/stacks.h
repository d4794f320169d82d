/* stacks.h - stacks for tasks that wait, and the way from one to another.
 *
 * A task that waits leaves its stack as it is; the thread goes on upon another one. Each new stack
 * begins with the entry function, which never returns: it leaves its stack for good when nothing
 * stands on it any more. A stack's memory is what was touched of it, and below it lies a guard: who
 * runs over its end dies, and says so.
 * One thread only. There is one set of stacks in a process.
 */
#ifndef LADLE_STACKS_H
#define LADLE_STACKS_H

#include <stdbool.h>
#include <stddef.h>

struct stack;

/* Stacks of `size` bytes, on which `entry` begins. */
void stacks_open(size_t size, void (*entry)(void));
/* In a signal handler: was this address touched since the current stack is full? */
bool stacks_full(const void *address, size_t *size_p);

/* Make sure that the next stacks_leave_for_new() finds a stack. -1 with ENOMEM. */
int stacks_reserve(void);

/* Go on with a new stack, or one that was left; returns when this one is entered again. */
void stacks_switch_to_new(void);
void stacks_switch(struct stack *to);
/* Go on there, and never come back: this stack is free for others. */
void stacks_abandon(struct stack *to) __attribute__((noreturn));

struct stack *stacks_current(void);
/* Give back the memory of free stacks that were used deeply. For times without work. */
void stacks_trim(void);
bool stacks_used(void); /* since then */

#endif
