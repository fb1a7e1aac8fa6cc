/* Counts kinds of warnings. See warnings.h. */
#include "clients/cli/warnings.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* Kinds beyond these are shown every time: better told twice than not at all. */
#define MAX_KINDS 32

struct bs__warnings {
    pthread_mutex_t mu; /* guards all below; taken before the progress bar's */
    size_t kinds;
    struct {
        char code[40];
        size_t count;
    } kind[MAX_KINDS];
};

bs_status bs__warnings_create(struct bs__warnings **out, struct bs_err *err)
{
    struct bs__warnings *w = calloc(1, sizeof *w);
    if (!w)
        return BS_FAIL(err, BS_ENOMEM, "no memory for the list of warnings");
    pthread_mutex_init(&w->mu, NULL);
    *out = w;
    return BS_OK;
}

void bs__warnings_destroy(struct bs__warnings *w)
{
    if (!w)
        return;
    pthread_mutex_destroy(&w->mu);
    free(w);
}

void bs__warnings_add(struct bs__warnings *w, struct bs__progress *progress, const char *path,
                      const char *code, const char *text)
{
    size_t i = 0;
    pthread_mutex_lock(&w->mu);
    while (i < w->kinds && strcmp(w->kind[i].code, code) != 0)
        i++;
    if (i == w->kinds && i < MAX_KINDS && strlen(code) < sizeof w->kind[i].code) {
        memcpy(w->kind[i].code, code, strlen(code) + 1);
        w->kinds++;
    }
    if (i >= w->kinds || w->kind[i].count++ == 0)
        bs__progress_message(progress, "bioseg: %s: %s", path, text);
    pthread_mutex_unlock(&w->mu);
}

void bs__warnings_summarise(struct bs__warnings *w, FILE *out)
{
    pthread_mutex_lock(&w->mu);
    for (size_t i = 0; i < w->kinds; i++)
        if (w->kind[i].count > 1)
            fprintf(out,
                    "bioseg: such a warning (%s) came with %zu images; the STEM.json of each has its own\n",
                    w->kind[i].code, w->kind[i].count);
    pthread_mutex_unlock(&w->mu);
}
