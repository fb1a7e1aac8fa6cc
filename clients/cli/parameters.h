/* Parameters of models and of training, as the server describes them: shown, and set from text. Pure functions; any thread. */
#ifndef BS_CLIENTS_CLI_PARAMETERS_H
#define BS_CLIENTS_CLI_PARAMETERS_H

#include "clients/cli/output.h"
#include "kernels/base/status.h"

#include "bioseg/v1/common.pb-c.h"

/* NULL: there is none of that name. */
const Bioseg__V1__ParameterSpec *bs__parameter_find(Bioseg__V1__ParameterSpec *const *specs, size_t n,
                                                    const char *name);
/* An initialised value from text; it may point into spec. BS_EINVAL names the parameter, the text and what is accepted. */
bs_status bs__parameter_set(const Bioseg__V1__ParameterSpec *spec, const char *text,
                            Bioseg__V1__ParameterValue *value, struct bs_err *err) BS_NODISCARD;
/* One of them for people: name, default, range, help. */
void bs__parameter_print(FILE *out, const json_t *spec);

#endif
