/* What came back for one image: counts and provenance, label pixels, maps, the table of objects. Receives it from a
   unary answer or from a stream, checking every size, order and checksum before a byte is used.
   A struct bs__result belongs to one thread. */
#ifndef BS_CLIENTS_CLI_RESULT_H
#define BS_CLIENTS_CLI_RESULT_H

#include "clients/cli/rpc_client.h"

#include "bioseg/v1/segmentation.pb-c.h"

struct bs__object_row {
    uint32_t id;
    uint64_t area_px;
    double centroid_y, centroid_x;
    uint32_t top, left, bottom, right;
    double mean_intensity;
    uint32_t t, z, z_end; /* of stacks */
    double centroid_z;
};

struct bs__result {
    Bioseg__V1__SegmentResult *info; /* owned */
    size_t planes, height, width;    /* planes: 1 unless info has plane_axes */
    uint32_t *labels;                /* (planes, height, width); NULL unless asked for */
    float *maps;                     /* (planes, map_channels, height, width) */
    size_t map_channels;
    struct bs__object_row *objects;
    size_t object_count, object_cap;
    bool has_objects;
};

void bs__result_free(struct bs__result *r); /* leaves it empty */

struct bs__result_progress {
    void *ctx;
    void (*tiles)(void *ctx, unsigned done, unsigned total);
};

/* Takes info and pixels out of a unary answer. */
bs_status bs__result_from_response(const Bioseg__V1__SegmentResponse *response, struct bs__result *out,
                                   struct bs_err *err) BS_NODISCARD;
/* Reads a stream of SegmentStreamResponse (or GetJobResultResponse: same field numbers) to its end. */
bs_status bs__result_receive(struct bs__rpc_call *call, const struct bs__result_progress *progress,
                             struct bs__result *out, struct bs_err *err) BS_NODISCARD;

#endif
