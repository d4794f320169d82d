#include "duration.h"

#include <string.h>

#define LONGEST (10LL * 366 * 86400 * 1000)

/* Digits, 10 of them at most. */
static int
number(const char **at, int64_t *n_p)
{
    const char *begin = *at;

    *n_p = 0;
    while (**at >= '0' && **at <= '9' && *at - begin < 11)
        *n_p = *n_p * 10 + (*(*at)++ - '0');
    return *at == begin || *at - begin > 10 ? -1 : 0;
}

/* Behind [days-]hours: ":MM:SS". */
static int
clock_time(const char *at, int64_t days, int64_t hours, int64_t *ms_p)
{
    int64_t minutes, seconds;

    if (*at++ != ':' || number(&at, &minutes) != 0 || *at++ != ':' || number(&at, &seconds) != 0 ||
        *at != '\0' || minutes > 59 || seconds > 59 || days > 9999 || hours > 99999)
        return -1;
    *ms_p = ((days * 24 + hours) * 3600 + minutes * 60 + seconds) * 1000;
    return 0;
}

static int
in_units(const char *unit, int64_t n, int64_t *ms_p)
{
    static const struct {
        const char *name;
        int64_t ms;
    } units[] = {{"ms", 1},      {"s", 1000},    {"", 1000},     {"m", 60000},
                 {"min", 60000}, {"h", 3600000}, {"d", 86400000}};

    for (unsigned i = 0; i < sizeof(units) / sizeof(*units); i++) {
        if (strcmp(unit, units[i].name) != 0)
            continue;
        if (n > LONGEST / units[i].ms)
            return -1;
        *ms_p = n * units[i].ms;
        return 0;
    }
    return -1;
}

int
duration_parse(const char *text, int64_t *ms_p)
{
    int64_t n, hours, ms;
    int rc;

    if (number(&text, &n) != 0)
        return -1;
    if (*text == ':')
        rc = clock_time(text, 0, n, &ms);
    else if (*text == '-' && (text++, number(&text, &hours) == 0))
        rc = clock_time(text, n, hours, &ms);
    else
        rc = in_units(text, n, &ms);
    if (rc != 0 || ms > LONGEST)
        return -1;
    *ms_p = ms;
    return 0;
}
