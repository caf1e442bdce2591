/* Memory for large arrays that live as long as a call or a training step.
 *
 * The first touch of memory fresh from the system costs a page fault every 4096 bytes, which in training
 * small layers took a quarter of the time. So a few of the blocks that are given back wait here for the next
 * array of about their size.
 */
#ifndef GATEWISE_STORE_H
#define GATEWISE_STORE_H

#include <stddef.h>

/* At least `size` bytes, aligned to a cache line; NULL where there is no memory. `size` leaves as the true
 * number of bytes. */
void *gw_take(size_t *size);

/* Asks for pages of 2 MB, of which a processor remembers more, for memory that is large enough. */
void gw_make_huge(void *memory, size_t size);

/* Gives back what gw_take returned, with its true size. */
void gw_give_back(void *memory, size_t size);

/* Gives all that waits here back to the system, and returns how many bytes that were. */
size_t gw_release(void);

#endif
