/* herd.h - many seeds, in processes of their own: one that fails does not end the others. */
#ifndef LADLE_SIM_HERD_H
#define LADLE_SIM_HERD_H

#include <stdbool.h>
#include <stdint.h>

struct herd_config {
    uint64_t first, last; /* seeds */
    unsigned jobs;        /* processes at a time */
    int64_t seconds;      /* no new seed after so long; 0: no limit */
    bool progress;        /* say now and then how far it is */
};

/* Ends with `N passed, N failed`. The number of those that failed. */
uint64_t herd_run(const struct herd_config *config);

#endif
