/* bioimage.io packages (specifications 0.4 and 0.5): which of a package's weights can be read, and what its description says
   of the model. Nothing is unpacked under a name of the package's; weights go to a nameless file, their size, unpacking and
   SHA-256 checked. Internal to model/weights. One thread. */
#ifndef BS_MODEL_WEIGHTS_PACKAGE_H
#define BS_MODEL_WEIGHTS_PACKAGE_H

#include "model/model.h"
#include "model/weights/torch_checkpoint.h"

struct bs__package {
    int fd;        /* the weights, owned */
    char kind[32]; /* "pytorch_state_dict" or "safetensors" */
    struct bs_torch_hints hints;
    bool has_normalisation; /* what `preprocessing` says is one of ours */
    enum bs_normalisation normalisation;
    char preprocessing[96];                          /* else: what it says */
    char *model_info;                                /* JSON; of a package that bioseg wrote, else NULL */
    char description[256], licence[64], source[256]; /* cut where they are longer */
};

/* Is it a zip archive with rdf.yaml or bioimageio.yaml? False for what cannot be read at all. */
bool bs__package_is_one(const char *path);
/* Weights are unpacked into the folder of `beside`. Close also after a failure. */
bs_status bs__package_open(const char *path, const char *beside, struct bs__package *out,
                           struct bs_err *err) BS_NODISCARD;
void bs__package_close(struct bs__package *p);

#endif
