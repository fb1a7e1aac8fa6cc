/* See label_ids.h. A table of ids with open addressing, at most half full. */
#include "model/dataset/label_ids.h"

#include "kernels/base/mix.h"

#include <stdlib.h>

struct entry {
    uint32_t id, number; /* number 0: free */
};

struct table {
    struct entry *at;
    size_t room; /* a power of two */
    uint32_t count;
};

static struct entry *find(const struct table *t, uint32_t id)
{
    size_t i = (size_t)bs_mix64(id) & (t->room - 1);
    while (t->at[i].number && t->at[i].id != id)
        i = (i + 1) & (t->room - 1);
    return &t->at[i];
}

static bool grow(struct table *t)
{
    struct table larger = {.room = 2 * t->room, .count = t->count};
    if (!(larger.at = calloc(larger.room, sizeof *larger.at)))
        return false;
    for (size_t i = 0; i < t->room; i++)
        if (t->at[i].number)
            *find(&larger, t->at[i].id) = t->at[i];
    free(t->at);
    *t = larger;
    return true;
}

bs_status bs__label_ids_number(const uint32_t *labels, size_t pixels, uint32_t *numbers, uint32_t *count,
                               struct bs_err *err)
{
    struct table t = {.room = 1024};
    uint32_t last_id = 0, last_number = 0; /* neighbours mostly have the same */
    bool enough = (t.at = calloc(t.room, sizeof *t.at)) != NULL;
    for (size_t i = 0; i < pixels && enough; i++) {
        const uint32_t id = labels[i];
        if (id != last_id) {
            last_id = id;
            last_number = 0;
            if (id) {
                struct entry *e = find(&t, id);
                if (!e->number)
                    *e = (struct entry){id, ++t.count};
                last_number = e->number;
                if (2 * (size_t)t.count > t.room)
                    enough = grow(&t);
            }
        }
        numbers[i] = last_number;
    }
    free(t.at);
    *count = t.count;
    return enough ? BS_OK : BS_FAIL(err, BS_ENOMEM, "no memory to number %u objects", t.count);
}
