/* Writing Python's pickle format, protocol 2: the values that a checkpoint is made of, one call each. A value is written
   whole before the next; containers are opened and closed. Nothing is memoised. Internal to model/export. One thread. */
#ifndef BS_MODEL_EXPORT_PICKLE_WRITE_H
#define BS_MODEL_EXPORT_PICKLE_WRITE_H

#include "model/export/bytes.h"

void bs__pickler_begin(struct bs__bytes *p);
void bs__pickler_end(struct bs__bytes *p); /* the value written is the result */

void bs__pickler_none(struct bs__bytes *p);
void bs__pickler_bool(struct bs__bytes *p, bool value);
void bs__pickler_int(struct bs__bytes *p, int64_t value);
void bs__pickler_float(struct bs__bytes *p, double value);
void bs__pickler_text(struct bs__bytes *p, const char *value); /* UTF-8 */
/* A class or function by module and name. */
void bs__pickler_global(struct bs__bytes *p, const char *module, const char *name);

/* What follows until the close are its items; of a dictionary: key, value, key, value, ... */
void bs__pickler_open_tuple(struct bs__bytes *p);
void bs__pickler_close_tuple(struct bs__bytes *p);
void bs__pickler_open_list(struct bs__bytes *p);
void bs__pickler_close_list(struct bs__bytes *p);
void bs__pickler_open_dict(struct bs__bytes *p);
void bs__pickler_open_ordered_dict(struct bs__bytes *p);
void bs__pickler_close_dict(struct bs__bytes *p); /* of either kind */

/* The two values before it, a callable and a tuple of arguments, become what the call gives. */
void bs__pickler_call(struct bs__bytes *p);
/* The value before it becomes a reference to something outside the pickle. */
void bs__pickler_persistent(struct bs__bytes *p);

#endif
