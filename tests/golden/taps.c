/* Outputs of modules inside a network: a copy of its graph with further outputs. A module is known by its name in the
   original, found by the parameter that its last operator reads. */
#include "tests/golden/network.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The first operator of that kind that reads a value. */
static bs_value consumer(const struct bs_graph *g, bs_value of, enum bs_op op)
{
    for (int i = of + 1; of != BS_NO_VALUE && i < bs_graph_node_count(g); i++) {
        const struct bs_node *node = bs_graph_node(g, i);
        for (int k = 0; node->op == op && k < node->ninput; k++)
            if (node->input[k] == of)
                return i;
    }
    return BS_NO_VALUE;
}

/* The operator of that kind that reads parameter "<module>.<suffix>". */
static bs_value reader(const struct bs_graph *g, const char *module, const char *suffix, enum bs_op op)
{
    char name[160];
    snprintf(name, sizeof name, "%s.%s", module, suffix);
    for (int i = 0; i < bs_graph_node_count(g); i++) {
        const struct bs_node *node = bs_graph_node(g, i);
        if (node->op == BS_OP_PARAM && !strcmp(node->name, name))
            return consumer(g, i, op);
    }
    return BS_NO_VALUE;
}

/* What makes the first input of a value. */
static bs_value behind(const struct bs_graph *g, bs_value v)
{
    return v == BS_NO_VALUE ? v : bs_graph_node(g, v)->input[0];
}

/* By the last parameter that a module reads, and the operators from there to its end. */
static const struct ending {
    const char *suffix;
    enum bs_op reader;
    enum bs_op then; /* BS_OP_INPUT: nothing */
} endings[] = {
    {"block.4.weight", BS_OP_CONV2D, BS_OP_RELU},       /* a block with norms, */
    {"block.2.weight", BS_OP_CONV2D, BS_OP_RELU},       /* and without */
    {"block.2.weight", BS_OP_BATCH_NORM, BS_OP_RELU},   /* a step of the UNETR's decoder, */
    {"1.block.2.weight", BS_OP_BATCH_NORM, BS_OP_RELU}, /* two of them (tried after three), */
    {"conv.weight", BS_OP_CONV2D, BS_OP_INPUT},         /* upsampling */
    {"block.weight", BS_OP_CONV_TRANSPOSE2D, BS_OP_INPUT},
    {"mlp.lin2.weight", BS_OP_LINEAR, BS_OP_ADD}, /* a block of the image encoder and its parts */
    {"lin2.weight", BS_OP_LINEAR, BS_OP_INPUT},
    {"attn.proj.weight", BS_OP_LINEAR, BS_OP_ADD},
    {"proj.weight", BS_OP_LINEAR, BS_OP_INPUT},
    {"mixer.out_proj.weight", BS_OP_LINEAR, BS_OP_INPUT}, /* a block of Vision Mamba and its mixer */
    {"out_proj.weight", BS_OP_LINEAR, BS_OP_INPUT},
    {"proj.weight", BS_OP_CONV2D, BS_OP_TOKENS_FROM_IMAGE}, /* embeddings */
    {"weight", BS_OP_LAYER_NORM, BS_OP_INPUT},
    {"weight", BS_OP_LINEAR, BS_OP_INPUT},
    {"weight", BS_OP_CONV2D, BS_OP_INPUT},
};

/* What a module makes; "encoder.layers.3:residual" is the second value of a block of Vision Mamba, which its norm reads. */
static bs_value module_value(const struct bs_graph *g, const char *module)
{
    const char *colon = strchr(module, ':');
    if (colon) {
        char block[64];
        snprintf(block, sizeof block, "%.*s.norm", (int)(colon - module), module);
        return behind(g, reader(g, block, "weight", BS_OP_RMS_NORM));
    }
    if (!strcmp(module, "encoder")) /* what the first norm of the decoder's base reads */
        return behind(g, behind(g, reader(g, "base", "block.1.weight", BS_OP_CONV2D)));
    bs_value v = reader(g, module, "2.block.2.weight", BS_OP_BATCH_NORM); /* three steps */
    if (v != BS_NO_VALUE)
        return consumer(g, v, BS_OP_RELU);
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++)
        if ((v = reader(g, module, endings[i].suffix, endings[i].reader)) != BS_NO_VALUE)
            return endings[i].then == BS_OP_INPUT ? v : consumer(g, v, endings[i].then);
    return BS_NO_VALUE;
}

bs_status golden_with_taps(const struct bs_graph *g, const char *const *taps, int ntap, struct bs_graph **out,
                           struct bs_err *err)
{
    const int n = bs_graph_node_count(g);
    bs_status rc = BS_OK;
    bs_value *copy = calloc((size_t)n, sizeof *copy);
    struct bs_graph *new = bs_graph_create();
    *out = NULL;
    if (!copy || !new) {
        rc = BS_FAIL(err, BS_ENOMEM, "no memory for a graph");
        goto cleanup;
    }
    for (int i = 0; i < n; i++) {
        const struct bs_node *node = bs_graph_node(g, i);
        bs_value in[BS_MAX_INPUTS];
        for (int k = 0; k < node->ninput; k++)
            in[k] = node->input[k] == BS_NO_VALUE ? BS_NO_VALUE : copy[node->input[k]];
        if (node->op == BS_OP_INPUT)
            copy[i] = bs_graph_input(new, node->name, node->shape);
        else if (node->op == BS_OP_PARAM)
            copy[i] = bs_graph_param(new, node->name, node->shape);
        else
            copy[i] = bs_graph_apply(new, node->op, in, node->ninput, node->attr);
    }
    for (int i = 0; i < bs_graph_output_count(g); i++)
        bs_graph_output(new, bs_graph_output_name(g, i), copy[bs_graph_output_value(g, i)]);
    for (int i = 0; i < ntap; i++) {
        bs_value v = module_value(g, taps[i]);
        if (v == BS_NO_VALUE) {
            rc = BS_FAIL(err, BS_ENOTFOUND, "the network has no module %s", taps[i]);
            goto cleanup;
        }
        bs_graph_output(new, taps[i], copy[v]);
    }
    if ((rc = bs_graph_finish(new, err)) != BS_OK)
        goto cleanup;
    *out = new;
    new = NULL;
cleanup:
    free(copy);
    bs_graph_destroy(new);
    return rc;
}
