/* bs_status to gRPC status: the only place that knows both. Pure; any thread. */
#include "server/rpc/rpc.h"

#include <grpc/status.h>

int bs_rpc_status_code(bs_status status)
{
    switch (status) {
    case BS_OK:
        return GRPC_STATUS_OK;
    case BS_EINVAL:
    case BS_ECORRUPT:
        return GRPC_STATUS_INVALID_ARGUMENT;
    case BS_ENOTFOUND:
        return GRPC_STATUS_NOT_FOUND;
    case BS_EEXIST:
        return GRPC_STATUS_ALREADY_EXISTS;
    case BS_ELIMIT:
    case BS_ENOMEM:
        return GRPC_STATUS_RESOURCE_EXHAUSTED;
    case BS_EUNSUPPORTED:
        return GRPC_STATUS_UNIMPLEMENTED;
    case BS_ECANCELLED:
        return GRPC_STATUS_CANCELLED;
    case BS_EDEADLINE:
        return GRPC_STATUS_DEADLINE_EXCEEDED;
    case BS_EPRECONDITION:
        return GRPC_STATUS_FAILED_PRECONDITION;
    case BS_EUNAVAILABLE:
        return GRPC_STATUS_UNAVAILABLE;
    case BS_EUNAUTHENTICATED:
        return GRPC_STATUS_UNAUTHENTICATED;
    case BS_EPERMISSION:
        return GRPC_STATUS_PERMISSION_DENIED;
    case BS_EIO:
    case BS_EINTERNAL:
        return GRPC_STATUS_INTERNAL;
    }
    return GRPC_STATUS_INTERNAL;
}
