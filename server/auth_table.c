/* The table of who may call which method: all of them, by their full names. A method that is missing here can be called by
   nobody; tests/unit/server_rpc checks that every method of every service is listed and nothing else. */
#include "server/auth.h"

#include <string.h>

static const struct {
    const char *method;
    enum bs_who who;
} table[] = {
    {"/bioseg.v1.Server/GetInfo", BS_WHO_USER},
    {"/bioseg.v1.Segmentation/Segment", BS_WHO_USER},
    {"/bioseg.v1.Segmentation/SegmentStream", BS_WHO_USER},
    {"/bioseg.v1.Models/List", BS_WHO_USER},
    {"/bioseg.v1.Models/Get", BS_WHO_USER},
    {"/bioseg.v1.Models/Import", BS_WHO_USER},
    {"/bioseg.v1.Models/Export", BS_WHO_USER},
    {"/bioseg.v1.Models/Load", BS_WHO_USER},
    {"/bioseg.v1.Models/Unload", BS_WHO_USER},
    {"/bioseg.v1.Models/Delete", BS_WHO_USER},
    {"/bioseg.v1.Models/SetAlias", BS_WHO_USER},
    {"/bioseg.v1.Models/DeleteAlias", BS_WHO_USER},
    {"/bioseg.v1.Models/Promote", BS_WHO_USER},
    {"/bioseg.v1.Models/Rollback", BS_WHO_USER},
    {"/bioseg.v1.Models/ListAliasMoves", BS_WHO_USER},
    {"/bioseg.v1.Models/GetLineage", BS_WHO_USER},
    {"/bioseg.v1.Jobs/Submit", BS_WHO_USER},
    {"/bioseg.v1.Jobs/Get", BS_WHO_USER},
    {"/bioseg.v1.Jobs/List", BS_WHO_USER},
    {"/bioseg.v1.Jobs/Watch", BS_WHO_USER},
    {"/bioseg.v1.Jobs/Cancel", BS_WHO_USER},
    {"/bioseg.v1.Jobs/Delete", BS_WHO_USER},
    {"/bioseg.v1.Jobs/GetResult", BS_WHO_USER},
    {"/bioseg.v1.Datasets/Create", BS_WHO_USER},
    {"/bioseg.v1.Datasets/Get", BS_WHO_USER},
    {"/bioseg.v1.Datasets/List", BS_WHO_USER},
    {"/bioseg.v1.Datasets/Delete", BS_WHO_USER},
    {"/bioseg.v1.Datasets/AddPair", BS_WHO_USER},
    {"/bioseg.v1.Datasets/Missing", BS_WHO_USER},
    {"/bioseg.v1.Datasets/ListPairs", BS_WHO_USER},
    {"/bioseg.v1.Datasets/UpdatePair", BS_WHO_USER},
    {"/bioseg.v1.Datasets/DeletePair", BS_WHO_USER},
    {"/bioseg.v1.Training/Describe", BS_WHO_USER},
    {"/bioseg.v1.Training/Start", BS_WHO_USER},
    {"/bioseg.v1.Training/WatchMetrics", BS_WHO_USER},
    {"/bioseg.v1.Training/Resume", BS_WHO_USER},
    {"/bioseg.v1.Training/Pause", BS_WHO_USER},
    {"/bioseg.v1.Training/GetSample", BS_WHO_USER},
    {"/bioseg.v1.Training/SetLearningRate", BS_WHO_USER},
    {"/bioseg.v1.Comparisons/Start", BS_WHO_USER},
    {"/bioseg.v1.Comparisons/Get", BS_WHO_USER},
    {"/bioseg.v1.Admin/CreateUser", BS_WHO_ADMIN},
    {"/bioseg.v1.Admin/ListUsers", BS_WHO_ADMIN},
    {"/bioseg.v1.Admin/DeleteUser", BS_WHO_ADMIN},
    {"/bioseg.v1.Admin/CreateToken", BS_WHO_ADMIN},
    {"/bioseg.v1.Admin/RevokeToken", BS_WHO_ADMIN},
    {"/bioseg.v1.Admin/SetQuota", BS_WHO_ADMIN},
    {"/bioseg.v1.Admin/GetStatus", BS_WHO_ADMIN},
    {"/bioseg.v1.Admin/Drain", BS_WHO_ADMIN},
    {"/grpc.health.v1.Health/Check", BS_WHO_USER},
    {"/grpc.health.v1.Health/Watch", BS_WHO_USER},
    {"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", BS_WHO_USER},
    {"/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", BS_WHO_USER},
};

enum bs_who bs_auth_who(const char *method)
{
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        if (strcmp(table[i].method, method) == 0)
            return table[i].who;
    }
    return BS_WHO_NOBODY;
}

const char *bs_auth_table_method(size_t i)
{
    return i < sizeof table / sizeof table[0] ? table[i].method : NULL;
}
