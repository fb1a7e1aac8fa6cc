/* Puts every service of proto/ on the server, the ones of later versions with the words they answer. */
#include "server/service/service_internal.h"

#include "bioseg/v1/admin.pb-c.h"

bs_status bs_services_register(struct bs_services *s, struct bs_rpc *rpc, struct bs_err *err)
{
    bs__server_register(s, rpc);
    bs__segmentation_register(s, rpc);
    bs__models_register(s, rpc);
    bs__jobs_register(s, rpc);
    bs__datasets_register(s, rpc);
    bs__training_register(s, rpc);
    bs__comparisons_register(s, rpc);
    bs_rpc_add_service(rpc, &bioseg__v1__admin__descriptor, NULL, 0, s, "administration calls" BS__LATER);
    bs__health_register(s, rpc);
    return bs__reflection_register(s, rpc, err);
}

void bs_services_free(struct bs_services *s)
{
    bs__reflection_free(s);
}
