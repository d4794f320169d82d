/* ladle.h - futures for C, on all cores of this machine or on a grid.
 *
 * This is all that a program includes. futures.h is what the program calls, task.h what a task
 * calls.
 *
 *     static int
 *     square(task_t *task)
 *     {
 *         double x;
 *
 *         if (task_read(task, &x, sizeof(x)) != 0)
 *             return task_fail(task, "expected one double, got %zu bytes", task_input_size(task));
 *         x *= x;
 *         return task_return(task, &x, sizeof(x));
 *     }
 *     TASK(square)
 *
 * Conventions: types are opaque; thing_destroy(&thing) sets the pointer to NULL and accepts NULL.
 * Failure is -1 or NULL, with errno set and a sentence in futures_error(). Timeouts are in
 * milliseconds: -1 waits for ever, 0 only looks. All calls are thread-safe, unless said otherwise.
 */
#ifndef LADLE_H
#define LADLE_H

#define LADLE_VERSION_MAJOR 0
#define LADLE_VERSION_MINOR 1
#define LADLE_VERSION_PATCH 0
#define LADLE_VERSION "0.1.0"

#include "futures.h"
#include "task.h"

#endif
