/* One image to the server and its result back: in one message each way when it is small, else as a stream. */
#ifndef BS_CLIENTS_CLI_SEGMENT_CALL_H
#define BS_CLIENTS_CLI_SEGMENT_CALL_H

#include "clients/cli/result.h"
#include "clients/cli/spec_args.h"

struct bs__segment_progress {
    void *ctx;
    void (*share)(void *ctx, double share); /* of upload and tiles together, 0 to 1 */
};

/* unary_limit: Limits.max_unary_image_bytes of the server. input_sha256 gets the hash of the bytes that were sent.
   The file's bytes go as they are; the server's worker decodes them. */
bs_status bs__segment_call(struct bs__rpc_client *client, const struct bs__spec *spec, const char *path,
                           uint64_t unary_limit, const struct bs__segment_progress *progress,
                           char input_sha256[BS__SHA256_TEXT], struct bs__result *result,
                           struct bs_err *err) BS_NODISCARD;

#endif
