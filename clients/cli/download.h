/* A model file from the server: chunks of Models.Export into a file, every checksum and at the end the hash compared with the
   one that the registry has. One thread. */
#ifndef BS_CLIENTS_CLI_DOWNLOAD_H
#define BS_CLIENTS_CLI_DOWNLOAD_H

#include "clients/cli/rpc_client.h"

#include "bioseg/v1/models.pb-c.h"

struct bs__download_progress {
    void *ctx;
    void (*received)(void *ctx, uint64_t done, uint64_t total);
};

/* Appends the file to fd. *start says which model it is (the caller frees it with
   bioseg__v1__export_model_response__free_unpacked); NULL after a failure. BS_EIO: the local file could not be written;
   everything else comes from the server. */
bs_status bs__download_model(struct bs__rpc_client *client, Bioseg__V1__ModelRef *ref, int fd,
                             const struct bs__download_progress *progress,
                             Bioseg__V1__ExportModelResponse **start, struct bs_err *err) BS_NODISCARD;

#endif
