/* Reading the members of one JSON object with checks: type, range, nothing unknown. The first error sticks, like in a
   graph, so that reading stays a list. For the descriptions that model files carry and the configurations of runs; pure
   functions, any thread. */
#ifndef BS_MODEL_JSON_FIELDS_H
#define BS_MODEL_JSON_FIELDS_H

#include "kernels/base/status.h"
#include "model/weights/json.h"

struct bs__fields {
    const char *of; /* what messages begin with; NULL: "model description" */
    const struct bs_json_value *object;
    uint64_t read; /* bit i: member i was asked for, to tell whether there are others */
    bs_status rc;
    struct bs_err *err;
};

/* The member of that key, counted as read; NULL after an error or when it is not there. */
const struct bs_json_value *bs__field(struct bs__fields *f, const char *key, bool required);
void bs__field_wrong_type(struct bs__fields *f, const char *key, const struct bs_json_value *v,
                          const char *wanted);
/* These leave *out alone when the member is not there. */
void bs__read_int64(struct bs__fields *f, const char *key, bool required, int64_t low, int64_t high,
                    int64_t *out);
void bs__read_int(struct bs__fields *f, const char *key, int low, int high, int *out); /* required */
void bs__read_double(struct bs__fields *f, const char *key, double low, double high, double *out);
void bs__read_bool(struct bs__fields *f, const char *key, bool required, bool *out);
void bs__read_text(struct bs__fields *f, const char *key, char *out, size_t size);
/* One of a list of names, by its position; `otherwise` when the member is not there. */
int bs__read_name(struct bs__fields *f, const char *key, bool required, const char *const *names, int count,
                  int otherwise);
/* Begins reading an object inside; its rc goes back into f->rc when it is done. */
void bs__open_object(struct bs__fields *f, struct bs__fields *in, const char *key, bool required);
/* Refuses members that nobody read, by the name of the first. */
void bs__read_end(struct bs__fields *f, const char *what);

#endif
