/* What a checkpoint of torch_em's DefaultTrainer holds besides the model's tensors. Internal to model/export. One thread. */
#ifndef BS_MODEL_EXPORT_TORCH_INIT_H
#define BS_MODEL_EXPORT_TORCH_INIT_H

#include "model/export/bytes.h"
#include "model/model.h"

/* The class of torch_em that the network is an instance of when made with the arguments that bs__torch_arguments gives;
   NULL when torch_em has no name for it. *module gets its module. */
const char *bs__torch_class(const struct bs_arch_config *arch, const char **module);

/* One argument of that class. */
struct bs__torch_argument {
    const char *name;
    enum {
        BS__ARGUMENT_NONE,
        BS__ARGUMENT_BOOL,
        BS__ARGUMENT_INT,
        BS__ARGUMENT_TEXT,
        BS__ARGUMENT_CLASS
    } type;
    int64_t number;
    const char *text, *module; /* text; of a class its name and module */
};
#define BS__TORCH_MAX_ARGUMENTS 12
int bs__torch_arguments(const struct bs_arch_config *arch,
                        struct bs__torch_argument out[BS__TORCH_MAX_ARGUMENTS]);

/* Writes the items of an open dictionary: counters at zero, an optimizer without state over that many parameters, and "init",
   from which torch_em makes trainer and network again. */
void bs__torch_init(struct bs__bytes *p, const struct bs_model_info *info, size_t parameters);

#endif
