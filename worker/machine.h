/* machine.h - for which machine is a program? In the words of uname -m. */
#ifndef LADLE_MACHINE_H
#define LADLE_MACHINE_H

#include <stddef.h>

/* Of this host, as its programs say: "x86_64". */
const char *machine_host(void);

/* From the first bytes of an executable; "" if it is no ELF file (a script runs anywhere),
 * "unknown" for a machine without a name here. */
#define MACHINE_HEADER 20
const char *machine_of_header(const unsigned char *bytes, size_t size);

/* -1 with errno if the file cannot be read. */
int machine_of_file(const char *path, const char **machine_p);

#endif
