/* A model file in the formats of other programs. The model file at `model` is read and `out` written whole or not at all;
   errors say what of the model the format cannot express. One thread. */
#ifndef BS_MODEL_EXPORT_EXPORT_H
#define BS_MODEL_EXPORT_EXPORT_H

#include "kernels/base/status.h"

enum bs_export_format {
    /* What PyTorch's torch.load reads: a plain state dict, an OrderedDict of CPU tensors with the names and values of the model
       file. */
    BS_EXPORT_STATE_DICT,
    /* What torch_em.util.load_model and get_trainer read: a checkpoint of its DefaultTrainer, the state dict under
       "model_state". Where torch_em can make the network from names and numbers (its UNet2d; its UNETR over Segment Anything's
       vit_b, vit_l and vit_h) "init" says how; for others the reader must bring the network. It says nothing of a training:
       iteration and epoch are 0, the optimizer has no state. Nothing but PyTorch's tensors and plain Python values is pickled,
       except the class of transposed upsampling in a U-Net that has it. */
    BS_EXPORT_TRAINER,
    /* ONNX, operator set 17: "input" to "output", after the final activation. A U-Net takes any batch, height and width that are
       multiples of its divisor, standardised; UNETR one image of its encoder's size, with SAM's statistics (if it uses them)
       inside. Weights of more than 1 GB go to a file of their own, `out` with ".data" behind it, which must stay beside it.
       ViM-UNet: BS_EUNSUPPORTED, ONNX has no selective scan. */
    BS_EXPORT_ONNX,
    /* A bioimage.io package (specification 0.5): ONNX and, where torch_em makes the network by name, a state dict; axes, sizes and
       preprocessing from the model, test tensors computed here on the CPU. Needs title, authors and licence; nothing of that is
       made up. The model file's own description is in it, so that an import loses nothing. ViM-UNet: BS_EUNSUPPORTED. */
    BS_EXPORT_PACKAGE,
};

/* What a model file does not know. */
struct bs_export_options {
    const char *title;
    const char *const *authors; /* "NAME" or "NAME; AFFILIATION" */
    size_t nauthors;
    const char *licence; /* SPDX identifier; NULL: what the model file says */
    bool external_data;  /* of ONNX: weights in a file of their own, however few */
};

bs_status bs_export(enum bs_export_format format, const char *model, const char *out,
                    const struct bs_export_options *options, struct bs_err *err) BS_NODISCARD;

#endif
