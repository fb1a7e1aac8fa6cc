/* See training_graphs.h. */
#include "training_graphs.h"

#include "kernels/cpu/simd.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define MOST_OUTPUTS (MOST_VARIABLES + 3)

bs_value variable(struct network *n, struct bs_shape shape)
{
    char name[16];
    assert_true(n->nwrt < MOST_VARIABLES);
    snprintf(name, sizeof name, "v%d", n->nwrt);
    return n->wrt[n->nwrt++] = bs_graph_input(n->g, name, shape);
}

/* Three losses of images. */
static bs_value image_losses(struct bs_graph *g, bs_value y, bs_value target)
{
    bs_value p = bs_graph_sigmoid(g, y);
    bs_value loss =
        bs_graph_add(g, bs_graph_dice_loss(g, p, target, (int)bs_graph_node(g, y)->shape.dim[1], 1e-7f),
                     bs_graph_bce_loss(g, p, target));
    return bs_graph_add(g, loss, bs_graph_mse_loss(g, y, target));
}

struct bs_graph *training_of(build_fn build)
{
    struct network n = {.g = bs_graph_create()};
    struct bs_err err = {.msg = ""};
    bs_value gradient[MOST_VARIABLES];
    assert_non_null(n.g);
    bs_value y = build(&n);
    assert_false(bs_graph_failed(n.g));
    const struct bs_shape shape = bs_graph_node(n.g, y)->shape;
    bs_value target = bs_graph_sigmoid(n.g, bs_graph_input(n.g, "target", shape));
    bs_value seed = bs_graph_input(n.g, "seed", BS_SHAPE(1));
    bs_value loss = shape.ndim == 4 ? image_losses(n.g, y, target) : bs_graph_mse_loss(n.g, y, target);
    if (bs_graph_backward(n.g, loss, seed, n.wrt, n.nwrt, gradient, &err) != BS_OK)
        fail_msg("%s", err.msg);
    bs_graph_output(n.g, "y", y);
    bs_graph_output(n.g, "loss", loss);
    if (shape.ndim == 4)
        bs_graph_output(n.g, "statistics", bs_graph_batch_statistics(n.g, y));
    for (int i = 0; i < n.nwrt; i++) {
        char name[16];
        snprintf(name, sizeof name, "g%d", i);
        bs_graph_output(n.g, name, gradient[i]);
    }
    if (bs_graph_finish(n.g, &err) != BS_OK)
        fail_msg("%s", err.msg);
    return n.g;
}

static int make_inputs(const struct bs_graph *g, struct bs_tensor *in)
{
    struct numbers r = {77};
    int count = 0;
    for (bs_value v = 0; v < bs_graph_node_count(g); v++)
        if (bs_graph_node(g, v)->op == BS_OP_INPUT)
            in[count++] = random_tensor(&r, bs_graph_node(g, v)->shape);
    return count;
}

static void free_all(struct bs_tensor *t, int count)
{
    for (int i = 0; i < count; i++)
        free_tensor(&t[i]);
}

/* One output may be zero everywhere, the gradient of what has no effect in that network: then nothing else will do. */
static void compare_outputs(const struct bs_graph *g, const char *isa, int threads, double share,
                            const struct bs_tensor *want, const struct bs_tensor *have)
{
    int zeros = 0;
    for (int i = 0; i < bs_graph_output_count(g); i++) {
        double largest = 0, worst = 0;
        for (size_t k = 0; k < bs_shape_count(&want[i].shape); k++) {
            const double d = fabs((double)floats(&have[i])[k] - (double)floats(&want[i])[k]);
            largest = fmax(largest, fabs((double)floats(&want[i])[k]));
            worst = d > worst || isnan(d) ? d : worst;
        }
        zeros += !(largest > 0);
        if (!(worst <= share * largest))
            fail_msg("output \"%s\", %s, %d threads: off by %g of %g", bs_graph_output_name(g, i), isa,
                     threads, worst, largest);
    }
    assert_true(zeros <= 1);
}

void check_graph(const struct bs_graph *g, double share)
{
    static const char *const isas[] = {"base", "avx2", "avx512"};
    struct filled none;
    struct bs_tensor in[MOST_VARIABLES + 2], want[MOST_OUTPUTS], have[MOST_OUTPUTS];
    const int ninput = make_inputs(g, in), noutput = bs_graph_output_count(g);
    fill_params(&none, g, 1);
    run_graph(g, in, ninput, want, noutput);
    for (int k = 0; k < 3; k++)
        for (int threads = 1; bs__simd_named(isas[k]) && threads <= 3; threads += 2) {
            run_cpu(g, none.params, (struct how){.threads = threads, .isa = isas[k], .winograd = true}, in,
                    have);
            compare_outputs(g, isas[k], threads, share, want, have);
            free_all(have, noutput);
        }
    free_all(want, noutput);
    free_all(in, ninput);
    free_params(&none);
}

void check_training(build_fn build, double share)
{
    struct bs_graph *g = training_of(build);
    check_graph(g, share);
    bs_graph_destroy(g);
}

void same_bits(const struct bs_graph *g, int threads, int other_threads)
{
    struct filled none;
    struct bs_tensor in[MOST_VARIABLES + 2], first[MOST_OUTPUTS], again[MOST_OUTPUTS];
    const int ninput = make_inputs(g, in), noutput = bs_graph_output_count(g);
    fill_params(&none, g, 1);
    run_cpu(g, none.params, (struct how){.threads = threads, .winograd = true}, in, first);
    for (int turn = 0; turn < 5; turn++) {
        run_cpu(g, none.params, (struct how){.threads = turn < 4 ? threads : other_threads, .winograd = true},
                in, again);
        for (int i = 0; i < noutput; i++)
            if (memcmp(first[i].data, again[i].data, bs_shape_count(&first[i].shape) * sizeof(float)) != 0)
                fail_msg("turn %d: output \"%s\" differs", turn, bs_graph_output_name(g, i));
        free_all(again, noutput);
    }
    free_all(first, noutput);
    free_all(in, ninput);
    free_params(&none);
}
