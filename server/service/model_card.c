/* bioseg.v1.ModelCard: what a model costs. The handler's thread. */
#include "server/service/service_internal.h"

#include "model/card.h"

#include <unistd.h>

/* What is planned for a card. */
static const struct {
    int batch;
    enum bs_precision precision;
} planned[] = {{1, BS_PRECISION_F32}, {4, BS_PRECISION_F32}, {1, BS_PRECISION_BF16}};
#define PLANNED (sizeof planned / sizeof planned[0])

static bs_status add_plan(struct bs_services *s, struct bs_arena *arena, int model_fd, size_t which,
                          Bioseg__V1__ModelCard *card, struct bs_err *err)
{
    struct bs_model_card_plan plan;
    bs_status rc =
        bs_engine_card(s->engine, model_fd, planned[which].batch, planned[which].precision, &plan, err);
    if (rc == BS_EUNSUPPORTED) /* a device without such arithmetic has no such plan */
        return BS_OK;
    if (rc != BS_OK)
        return rc;
    Bioseg__V1__TilePlan *m = bs_arena_alloc(arena, sizeof *m);
    if (!m)
        return BS_FAIL(err, BS_ENOMEM, "no memory for a model card");
    bioseg__v1__tile_plan__init(m);
    m->batch = (uint32_t)plan.batch;
    m->precision = (char *)(uintptr_t)(plan.precision == BS_PRECISION_BF16 ? "bf16" : "fp32");
    m->peak_bytes = plan.peak_bytes;
    m->arena_bytes = plan.arena_bytes;
    m->weight_bytes = plan.weight_bytes;
    m->window_bytes = plan.window_bytes;
    m->algorithms = bs__format(arena, "%s", plan.algorithms);
    card->plans[card->n_plans++] = m;
    return BS_OK;
}

bs_status bs__model_card_message(struct bs_services *s, struct bs_arena *arena,
                                 const struct bs_model_record *record, bool with_plans,
                                 Bioseg__V1__ModelCard **out, struct bs_err *err)
{
    struct bs_model_info info;
    struct bs_model_card card;
    uint64_t bytes;
    int fd = -1;
    bs_status rc = bs__model_info(record, &info, err);
    if (rc != BS_OK || (rc = bs_model_card(&info, &card, err)) != BS_OK)
        return rc;
    Bioseg__V1__ModelCard *m = bs_arena_alloc(arena, sizeof *m);
    if (!m)
        return BS_FAIL(err, BS_ENOMEM, "no memory for a model card");
    bioseg__v1__model_card__init(m);
    m->parameters = card.parameters;
    m->tile_px = (uint32_t)card.tile;
    m->network_px = (uint32_t)card.network;
    m->flops = card.flops;
    *out = m;
    if (!with_plans)
        return BS_OK;
    if (!(m->plans = bs_arena_array(arena, PLANNED, sizeof *m->plans)))
        return BS_FAIL(err, BS_ENOMEM, "no memory for a model card");
    rc = bs_blob_open(s->blobs, record->blob, &fd, &bytes, err);
    for (size_t i = 0; i < PLANNED && rc == BS_OK; i++)
        rc = add_plan(s, arena, fd, i, m, err);
    if (fd >= 0)
        close(fd);
    return rc;
}
