/* fits.h - which offers fit a demand, and which of these have room.
 *
 * Each worker may have labels of its own, and then there are as many offers as workers. So a
 * demand has those with room in lists, by their room, and nobody searches through offers.
 */
#ifndef LADLE_FITS_H
#define LADLE_FITS_H

#include "state.h"

int fit_new(struct demand *d, struct offer *o); /* -1: ENOMEM */
void fits_free_demand(struct demand *d);        /* all of it */
void fits_free_offer(struct offer *o);

/* One of the offer's workers came into a list of it, or went out. */
void fits_update(struct offer *o);
/* One of them got back what is scarce: the offer comes before others. */
void fits_freed(struct offer *o);

#endif
