/* What the files of the dataset service share. */
#ifndef BS_SERVER_SERVICE_DATASETS_INTERNAL_H
#define BS_SERVER_SERVICE_DATASETS_INTERNAL_H

#include "server/annotation.h"
#include "server/service/service_internal.h"

/* datasets_annotation.c. m NULL: all counts. The caller clears *a, also on failure; sizes of 0 stay as they are. */
bs_status bs__annotation_take(const Bioseg__V1__Annotation *m, bool has_prediction, struct bs_annotation *a,
                              struct bs_err *err) BS_NODISCARD;
/* NULL: it says nothing, is not known to this program, or the arena is exhausted. */
Bioseg__V1__Annotation *bs__annotation_message(struct bs_arena *arena, const char *json);
/* What is said of a file (d may be NULL); raw->ndim 0: it says itself what it is. bytes 0: not known here. */
bs_status bs__pair_file_take(const char *what, const Bioseg__V1__ImageDescription *d, uint64_t bytes,
                             struct bs_raw_image *raw, struct bs_err *err) BS_NODISCARD;
/* Pixel sizes of samples without a file, as they were sent. */
void bs__pair_file_sizes(const Bioseg__V1__ImageDescription *d, struct bs_file_info *f);

/* datasets_add_pair.c: methods of Datasets. */
bs_status bs__datasets_add_pair(void *service, struct bs_call *call, const ProtobufCMessage *unused,
                                struct bs_err *err);
/* datasets_update_pair.c. */
bs_status bs__datasets_update_pair(void *service, struct bs_call *call, const ProtobufCMessage *message,
                                   struct bs_err *err);

#endif
