/* What the files of the service of comparisons share. */
#ifndef BS_SERVER_SERVICE_COMPARISONS_INTERNAL_H
#define BS_SERVER_SERVICE_COMPARISONS_INTERNAL_H

#include "server/comparison.h"
#include "server/service/service_internal.h"

#include "bioseg/v1/comparisons.pb-c.h"

/* comparison_seen.c: notes in images which of them this version, or any that it descends from, learned from, and which of these
   versions nobody knows that of. */
bs_status bs__comparison_note_uses(struct bs_services *s, const struct bs_model_record *model,
                                   struct bs_comparison_images *images, struct bs_err *err) BS_NODISCARD;

/* comparison_message.c; NULL when the arena is exhausted. */
Bioseg__V1__ModelRef *bs__comparison_version_message(struct bs_arena *arena,
                                                     const struct bs_comparison_version *v);
Bioseg__V1__ComparedImage *bs__compared_image_message(struct bs_arena *arena,
                                                      const struct bs_comparison_image *image, bool scored);
Bioseg__V1__Comparison *bs__comparison_message(struct bs_arena *arena, const struct bs_job_record *job,
                                               const struct bs_comparison_request *request,
                                               const struct bs_comparison_images *images);

#endif
