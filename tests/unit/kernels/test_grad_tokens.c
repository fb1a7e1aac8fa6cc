/* Gradients of the operators over tokens agree with finite differences of the forward ones: every input, every direction,
   windows with and without padding, tables that are resampled, sequences longer than the reference's chunk. */
#include "gradients.h"

static bs_value gelu(struct problem *p)
{
    return bs_graph_gelu(p->g, variable(p, BS_SHAPE(3, 5)));
}

static bs_value silu(struct problem *p)
{
    return bs_graph_silu(p->g, variable(p, BS_SHAPE(3, 5)));
}

static bs_value scale(struct problem *p)
{
    return bs_graph_scale(p->g, variable(p, BS_SHAPE(3, 5)), -1.75f);
}

static bs_value tokens_from_image(struct problem *p)
{
    return bs_graph_tokens_from_image(p->g, variable(p, BS_SHAPE(2, 3, 2, 4)));
}

static bs_value image_from_tokens(struct problem *p)
{
    return bs_graph_image_from_tokens(p->g, variable(p, BS_SHAPE(2, 8, 3)), 2, 4);
}

static bs_value linear(struct problem *p)
{
    bs_value x = variable(p, BS_SHAPE(2, 3, 4)), w = variable(p, BS_SHAPE(5, 4));
    return bs_graph_linear(p->g, x, w, variable(p, BS_SHAPE(5)));
}

static bs_value linear_plain(struct problem *p)
{
    bs_value x = variable(p, BS_SHAPE(3, 4));
    return bs_graph_linear(p->g, x, variable(p, BS_SHAPE(2, 4)), BS_NO_VALUE);
}

static bs_value layer_norm(struct problem *p)
{
    bs_value x = variable(p, BS_SHAPE(2, 3, 5)), w = variable(p, BS_SHAPE(5));
    return bs_graph_layer_norm(p->g, x, w, variable(p, BS_SHAPE(5)), 1e-6f);
}

static bs_value rms_norm(struct problem *p)
{
    bs_value x = variable(p, BS_SHAPE(2, 3, 5));
    return bs_graph_rms_norm(p->g, x, variable(p, BS_SHAPE(5)), 1e-5f);
}

static bs_value slice_last(struct problem *p)
{
    return bs_graph_slice_last(p->g, variable(p, BS_SHAPE(2, 3, 5)), 1, 3);
}

static bs_value slice_tokens(struct problem *p)
{
    return bs_graph_slice_tokens(p->g, variable(p, BS_SHAPE(2, 4, 3)), 1, 2);
}

static bs_value insert_token_first(struct problem *p)
{
    bs_value x = variable(p, BS_SHAPE(2, 4, 3));
    return bs_graph_insert_token(p->g, x, variable(p, BS_SHAPE(1, 1, 3)), 0);
}

static bs_value insert_token_middle(struct problem *p)
{
    bs_value x = variable(p, BS_SHAPE(2, 4, 3));
    return bs_graph_insert_token(p->g, x, variable(p, BS_SHAPE(1, 1, 3)), 2);
}

static bs_value insert_token_end(struct problem *p)
{
    bs_value x = variable(p, BS_SHAPE(2, 4, 3));
    return bs_graph_insert_token(p->g, x, variable(p, BS_SHAPE(1, 1, 3)), 4);
}

static bs_value position_as_it_is(struct problem *p)
{
    bs_value x = variable(p, BS_SHAPE(2, 7, 2));
    return bs_graph_add_position(p->g, x, variable(p, BS_SHAPE(1, 7, 2)), 2, 3, 0);
}

static bs_value position_larger(struct problem *p)
{
    bs_value x = variable(p, BS_SHAPE(2, 20, 2));
    return bs_graph_add_position(p->g, x, variable(p, BS_SHAPE(1, 3, 3, 2)), 4, 5, -1);
}

static bs_value position_class_first(struct problem *p)
{
    bs_value x = variable(p, BS_SHAPE(2, 7, 2));
    return bs_graph_add_position(p->g, x, variable(p, BS_SHAPE(1, 10, 2)), 2, 3, 0);
}

static bs_value position_class_middle(struct problem *p)
{
    bs_value x = variable(p, BS_SHAPE(1, 13, 2));
    return bs_graph_add_position(p->g, x, variable(p, BS_SHAPE(1, 5, 2)), 3, 4, 6);
}

static bs_value rotary(struct problem *p)
{
    bs_value x = variable(p, BS_SHAPE(2, 4, 4)), cosine = constant(p, BS_SHAPE(3, 4));
    return bs_graph_rotary(p->g, x, cosine, constant(p, BS_SHAPE(3, 4)));
}

static bs_value causal_conv1d_forwards(struct problem *p)
{
    bs_value x = variable(p, BS_SHAPE(2, 5, 3)), w = variable(p, BS_SHAPE(3, 1, 4));
    return bs_graph_causal_conv1d(p->g, x, w, variable(p, BS_SHAPE(3)), false);
}

static bs_value causal_conv1d_backwards(struct problem *p)
{
    bs_value x = variable(p, BS_SHAPE(2, 5, 3)), w = variable(p, BS_SHAPE(3, 1, 4));
    return bs_graph_causal_conv1d(p->g, x, w, variable(p, BS_SHAPE(3)), true);
}

/* Two heads of two features over the whole grid. */
static bs_value attention_plain(struct problem *p)
{
    return bs_graph_attention(p->g, variable(p, BS_SHAPE(2, 6, 12)), BS_NO_VALUE, BS_NO_VALUE, BS_NO_VALUE, 2,
                              2, 3, 0);
}

static bs_value attention_windows(struct problem *p)
{
    bs_value qkv = variable(p, BS_SHAPE(1, 16, 6));
    return bs_graph_attention(p->g, qkv, BS_NO_VALUE, BS_NO_VALUE, BS_NO_VALUE, 1, 4, 4, 2);
}

/* Windows that stick out, filled with zeros. */
static bs_value attention_zero_padding(struct problem *p)
{
    return bs_graph_attention(p->g, variable(p, BS_SHAPE(1, 6, 12)), BS_NO_VALUE, BS_NO_VALUE, BS_NO_VALUE, 2,
                              2, 3, 2);
}

static bs_value attention_padding(struct problem *p)
{
    bs_value qkv = variable(p, BS_SHAPE(2, 6, 12));
    return bs_graph_attention(p->g, qkv, variable(p, BS_SHAPE(12)), BS_NO_VALUE, BS_NO_VALUE, 2, 2, 3, 2);
}

/* What the image encoder has: windows, padding, relative positions. */
static bs_value attention_positions(struct problem *p)
{
    bs_value qkv = variable(p, BS_SHAPE(2, 6, 12)), pad = variable(p, BS_SHAPE(12));
    bs_value rel_h = variable(p, BS_SHAPE(3, 2));
    return bs_graph_attention(p->g, qkv, pad, rel_h, variable(p, BS_SHAPE(3, 2)), 2, 2, 3, 2);
}

/* Tables longer and shorter than the grid asks for. */
static bs_value attention_resampled(struct problem *p)
{
    bs_value qkv = variable(p, BS_SHAPE(1, 6, 6)), pad = variable(p, BS_SHAPE(6));
    bs_value rel_h = variable(p, BS_SHAPE(7, 2));
    return bs_graph_attention(p->g, qkv, pad, rel_h, variable(p, BS_SHAPE(3, 2)), 1, 2, 3, 0);
}

static bs_value scan(struct problem *p, int64_t n, int64_t tokens, int64_t features, int64_t states,
                     bool gate, struct bs_attr attr)
{
    bs_value in[8];
    in[0] = variable(p, BS_SHAPE(n, tokens, features));
    in[1] = variable(p, BS_SHAPE(n, tokens, features));
    in[2] = variable(p, BS_SHAPE(features, states));
    in[3] = variable(p, BS_SHAPE(n, tokens, states));
    in[4] = variable(p, BS_SHAPE(n, tokens, states));
    in[5] = variable(p, BS_SHAPE(features));
    in[6] = variable(p, BS_SHAPE(features));
    if (gate)
        in[7] = variable(p, BS_SHAPE(n, tokens, features));
    return bs_graph_apply(p->g, BS_OP_SELECTIVE_SCAN, in, gate ? 8 : 7, attr);
}

static bs_value scan_forwards(struct problem *p)
{
    return scan(p, 2, 5, 2, 3, true, (struct bs_attr){.softplus = true});
}

static bs_value scan_backwards(struct problem *p)
{
    return scan(p, 2, 4, 2, 2, true, (struct bs_attr){.softplus = true, .reverse = true});
}

static bs_value scan_without_gate(struct problem *p)
{
    return scan(p, 1, 4, 2, 2, false, (struct bs_attr){.softplus = true});
}

/* The step width may be negative here: the state grows, for a few tokens. */
static bs_value scan_without_softplus(struct problem *p)
{
    return scan(p, 1, 3, 2, 2, true, (struct bs_attr){.softplus = false});
}

/* More tokens than the reference holds at a time. */
static bs_value scan_of_many_tokens(struct problem *p)
{
    return scan(p, 1, 70, 1, 2, true, (struct bs_attr){.softplus = true});
}

static bs_value scan_of_many_tokens_backwards(struct problem *p)
{
    return scan(p, 1, 70, 1, 1, false, (struct bs_attr){.softplus = true, .reverse = true});
}

GRADIENT_TEST(gelu)
GRADIENT_TEST(silu)
GRADIENT_TEST(scale)
GRADIENT_TEST(tokens_from_image)
GRADIENT_TEST(image_from_tokens)
GRADIENT_TEST(linear)
GRADIENT_TEST(linear_plain)
GRADIENT_TEST(layer_norm)
GRADIENT_TEST(rms_norm)
GRADIENT_TEST(slice_last)
GRADIENT_TEST(slice_tokens)
GRADIENT_TEST(insert_token_first)
GRADIENT_TEST(insert_token_middle)
GRADIENT_TEST(insert_token_end)
GRADIENT_TEST(position_as_it_is)
GRADIENT_TEST(position_larger)
GRADIENT_TEST(position_class_first)
GRADIENT_TEST(position_class_middle)
GRADIENT_TEST(rotary)
GRADIENT_TEST(causal_conv1d_forwards)
GRADIENT_TEST(causal_conv1d_backwards)
GRADIENT_TEST(attention_plain)
GRADIENT_TEST(attention_windows)
GRADIENT_TEST(attention_zero_padding)
GRADIENT_TEST(attention_padding)
GRADIENT_TEST(attention_positions)
GRADIENT_TEST(attention_resampled)
GRADIENT_TEST(scan_forwards)
GRADIENT_TEST(scan_backwards)
GRADIENT_TEST(scan_without_gate)
GRADIENT_TEST(scan_without_softplus)
GRADIENT_TEST(scan_of_many_tokens)
GRADIENT_TEST(scan_of_many_tokens_backwards)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gradient_of_gelu),
        cmocka_unit_test(gradient_of_silu),
        cmocka_unit_test(gradient_of_scale),
        cmocka_unit_test(gradient_of_tokens_from_image),
        cmocka_unit_test(gradient_of_image_from_tokens),
        cmocka_unit_test(gradient_of_linear),
        cmocka_unit_test(gradient_of_linear_plain),
        cmocka_unit_test(gradient_of_layer_norm),
        cmocka_unit_test(gradient_of_rms_norm),
        cmocka_unit_test(gradient_of_slice_last),
        cmocka_unit_test(gradient_of_slice_tokens),
        cmocka_unit_test(gradient_of_insert_token_first),
        cmocka_unit_test(gradient_of_insert_token_middle),
        cmocka_unit_test(gradient_of_insert_token_end),
        cmocka_unit_test(gradient_of_position_as_it_is),
        cmocka_unit_test(gradient_of_position_larger),
        cmocka_unit_test(gradient_of_position_class_first),
        cmocka_unit_test(gradient_of_position_class_middle),
        cmocka_unit_test(gradient_of_rotary),
        cmocka_unit_test(gradient_of_causal_conv1d_forwards),
        cmocka_unit_test(gradient_of_causal_conv1d_backwards),
        cmocka_unit_test(gradient_of_attention_plain),
        cmocka_unit_test(gradient_of_attention_windows),
        cmocka_unit_test(gradient_of_attention_zero_padding),
        cmocka_unit_test(gradient_of_attention_padding),
        cmocka_unit_test(gradient_of_attention_positions),
        cmocka_unit_test(gradient_of_attention_resampled),
        cmocka_unit_test(gradient_of_scan_forwards),
        cmocka_unit_test(gradient_of_scan_backwards),
        cmocka_unit_test(gradient_of_scan_without_gate),
        cmocka_unit_test(gradient_of_scan_without_softplus),
        cmocka_unit_test(gradient_of_scan_of_many_tokens),
        cmocka_unit_test(gradient_of_scan_of_many_tokens_backwards),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
