/* scale.h - how cost grows with workers and with queued tasks. */
#ifndef LADLE_SIM_SCALE_H
#define LADLE_SIM_SCALE_H

#include <stdint.h>

struct scale_config { /* 0: 10,000 workers, 10,000,000 tasks */
    unsigned workers;
    uint64_t tasks;
};

/* Prints a table; an exit status. */
int scale_run(const struct scale_config *config);

#endif
