/* places.h - the working directories of executors: directory/work/<worker>/<executor>.
 *
 * Each worker holds a lock on its part; parts without one belong to workers that died, and are
 * removed by the next that starts.
 */
#ifndef LADLE_PLACES_H
#define LADLE_PLACES_H

struct places;

struct places *places_new(const char *directory); /* NULL with errno */
void places_free(struct places *p);               /* removes them all */

/* A new, empty directory; NULL with errno. To be given to free() after places_remove(). */
char *places_make(struct places *p);
void places_remove(const char *path); /* with all that is in it */

#endif
