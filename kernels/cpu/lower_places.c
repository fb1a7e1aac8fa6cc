/* Lowers what depends on a token's place: a class token put in, position embeddings, rotary embeddings. Tables are laid out
   once per model. See lower_tokens.h. */
#include "kernels/cpu/lower_tokens.h"
#include "kernels/op.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A table that is made of a parameter: its values as they are, or the positions of a grid. */
struct table {
    const char *name;
    struct bs_shape shape;      /* of the parameter */
    const struct bs_node *node; /* of the operator that adds positions; NULL: as they are */
};

static bs_status pack(struct bs_params *params, void *dst, size_t bytes, void *ctx, struct bs_err *err)
{
    const struct table *t = ctx;
    const size_t count = bs_shape_count(&t->shape);
    if (!t->node)
        return bs_params_read(params, t->name, dst, count, err);
    /* Positions added to zeros, by the operator's own definition. */
    bs_status rc;
    float *zeros = calloc(1, bytes), *position = malloc(count * sizeof *position);
    if (!zeros || !position) {
        rc = BS_FAIL(err, BS_ENOMEM, "no memory to resample parameter \"%s\"", t->name);
        goto cleanup;
    }
    if ((rc = bs_params_read(params, t->name, position, count, err)) != BS_OK)
        goto cleanup;
    struct bs_shape tokens = t->node->shape;
    tokens.dim[0] = 1;
    const struct bs_tensor in[2] = {{BS_F32, tokens, zeros}, {BS_F32, t->shape, position}};
    struct bs_tensor out = {BS_F32, tokens, dst};
    bs_op_def(BS_OP_ADD_POSITION)->reference(&t->node->attr, in, 2, &out);
cleanup:
    free(zeros);
    free(position);
    return rc;
}

/* positions: the operator that adds the parameter; NULL: the parameter as it is. */
static const float *table_of(struct bs__lowering *l, bs_value param, const struct bs_node *positions)
{
    struct bs__build *b = &l->build;
    struct table t = {bs__lower_param(l, param), bs__node_of(l, param)->shape, positions};
    if (b->rc != BS_OK)
        return NULL;
    char key[512];
    size_t floats = bs_shape_count(&t.shape);
    int len;
    if (positions) {
        floats = (size_t)(positions->shape.dim[1] * positions->shape.dim[2]);
        len = snprintf(key, sizeof key, "cpu/positions/%lldx%lld of %lld %lld/%s",
                       (long long)positions->attr.out_h, (long long)positions->attr.out_w,
                       (long long)positions->shape.dim[1], (long long)positions->attr.start, t.name);
    } else {
        len = snprintf(key, sizeof key, "cpu/plain/%s", t.name);
    }
    if (len < 0 || (size_t)len >= sizeof key) {
        b->rc =
            BS_FAIL(b->err, BS_ELIMIT, "parameter name of %zu bytes; up to 400 are accepted", strlen(t.name));
        return NULL;
    }
    const void *out = NULL;
    b->rc = bs_params_packed(b->params, key, floats * sizeof(float), pack, &t, &out, b->err);
    return out;
}

void bs__lower_places(struct bs__lowering *l, bs_value v)
{
    const struct bs_node *n = bs__node_of(l, v);
    struct bs__row_pass k = {.factor = 1};
    const float *table = NULL;
    const char *name = "insert token";
    bs_value source = n->input[0];
    const struct bs_node *insert = n->op == BS_OP_INSERT_TOKEN ? n : NULL;
    if (n->op == BS_OP_ADD_POSITION) {
        name = "positions";
        table = table_of(l, n->input[1], n);
        if (l->value[source].deferred && !l->value[source].made) {
            insert = bs__node_of(l, source);
            name = "insert token, positions";
        }
    } else if (n->op == BS_OP_ROTARY) {
        name = "rotary";
        k.cosine = table_of(l, n->input[1], NULL);
        k.sine = table_of(l, n->input[2], NULL);
        k.turned_from = n->shape.dim[1] - bs__node_of(l, n->input[1])->shape.dim[0];
    }
    if (insert) {
        const size_t features = (size_t)n->shape.dim[2];
        k.inserted = bs__own_param(&l->build, bs__lower_param(l, insert->input[1]), features,
                                   (features + BS__MAX_LANES - 1) / BS__MAX_LANES * BS__MAX_LANES);
        k.insert_at = insert->attr.start;
        source = insert->input[0];
    }
    const struct bs__row_operands o = {.a = bs__lower_rows(l, source), .table = table};
    if (l->build.rc == BS_OK)
        bs__lower_pass(l, &o, v, k, name);
}
