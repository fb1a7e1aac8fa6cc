/* What can be set about a training run by name, with range, default and help, for forms and for the command line; the rest of a
   configuration follows from network and recipe (model/train/config.h). Pure functions; any thread. */
#ifndef BS_SERVER_TRAINING_PARAMS_H
#define BS_SERVER_TRAINING_PARAMS_H

#include "model/predict/segment.h"
#include "model/train/config.h"

#define BS_TRAINING_MAX_PARAMS 40

/* Those that this configuration has, with its values as defaults: at most cap, returns how many. Strings are static. */
int bs_training_param_specs(const struct bs_train_config *config, struct bs_param_spec *out, int cap);
/* Sets one by name; an enum's value is the position of the choice. BS_EINVAL names value and accepted range; whether all of
   them fit together bs_train_config_check knows. */
bs_status bs_training_param_set(struct bs_train_config *config, const char *name, double value,
                                struct bs_err *err) BS_NODISCARD;

#endif
