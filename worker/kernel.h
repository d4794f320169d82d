/* kernel.h - system calls that leave errno alone.
 *
 * A keeper (spawn.c) has the thread-local storage of the thread that made it, which goes on at the
 * same time: an errno that it set would be that thread's, in the middle of whatever that does. The
 * result is the kernel's own: -EINTR and the like on failure.
 */
#ifndef LADLE_KERNEL_H
#define LADLE_KERNEL_H

#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

#define KERNEL_ALONE __attribute__((no_sanitize("address", "undefined", "thread")))

KERNEL_ALONE static inline long
kernel_call(long number, long a, long b, long c, long d, long e)
{
#if defined(__x86_64__) && defined(__LP64__)
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    long result;

    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8)
                     : "rcx", "r11", "memory");
    return result;
#elif defined(__aarch64__)
    register long x8 __asm__("x8") = number;
    register long x0 __asm__("x0") = a;
    register long x1 __asm__("x1") = b;
    register long x2 __asm__("x2") = c;
    register long x3 __asm__("x3") = d;
    register long x4 __asm__("x4") = e;

    __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4) : "memory");
    return x0;
#else
    /* As near as one gets without knowing the machine: errno is another's for a moment. */
    int before = errno;
    long result = syscall(number, a, b, c, d, e);

    if (result == -1)
        result = -errno;
    errno = before;
    return result;
#endif
}

/* kernel(SYS_x, ...) with up to 5 arguments, numbers or pointers. */
#define KERNEL_PADDED(number, a, b, c, d, e, ...)                                                  \
    kernel_call(number, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e))
#define kernel(...) KERNEL_PADDED(__VA_ARGS__, 0, 0, 0, 0, 0, 0)

#endif
