/* Progress on stderr. `mu` guards everything; redrawing is limited to ten times a second. See progress.h. */
#include "clients/cli/progress.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#define REDRAW_SECONDS 0.1
#define BAR_CELLS      24

struct bs__progress {
    pthread_mutex_t mu; /* guards all below */
    FILE *out;
    enum bs__progress_style style;
    size_t total, finished;
    double shares;       /* sum over the items */
    double began, drawn; /* seconds, monotonic */
    bool on_screen;      /* a bar is to be cleared before anything else is written */
};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

enum bs__progress_style bs__progress_style_for(FILE *out, bool quiet)
{
    const char *term = getenv("TERM");
    if (quiet)
        return BS__PROGRESS_QUIET;
    return isatty(fileno(out)) && term && strcmp(term, "dumb") != 0 ? BS__PROGRESS_BAR : BS__PROGRESS_LINES;
}

bs_status bs__progress_create(FILE *out, enum bs__progress_style style, size_t total,
                              struct bs__progress **result, struct bs_err *err)
{
    struct bs__progress *p = calloc(1, sizeof *p);
    if (!p)
        return BS_FAIL(err, BS_ENOMEM, "no memory for the progress bar");
    pthread_mutex_init(&p->mu, NULL);
    p->out = out;
    p->style = style;
    p->total = total;
    p->began = now();
    *result = p;
    return BS_OK;
}

static void clear(struct bs__progress *p)
{
    if (p->on_screen)
        fputs("\r\033[K", p->out);
    p->on_screen = false;
}

static int columns(const struct bs__progress *p)
{
    struct winsize size;
    if (ioctl(fileno(p->out), TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
        return size.ws_col;
    return 80;
}

static void format_seconds(double s, char *out, size_t cap)
{
    unsigned long t = s < 0 ? 0 : (unsigned long)(s + 0.5);
    if (t >= 3600)
        snprintf(out, cap, "%lu:%02lu:%02lu", t / 3600, t / 60 % 60, t % 60);
    else
        snprintf(out, cap, "%lu:%02lu", t / 60, t % 60);
}

static void draw(struct bs__progress *p, const char *name, bool at_once)
{
    char line[512], bar[BAR_CELLS + 1], left[32] = "";
    double t = now();
    if (p->style != BS__PROGRESS_BAR || (!at_once && t - p->drawn < REDRAW_SECONDS))
        return;
    p->drawn = t;
    double done = p->total ? p->shares / (double)p->total : 1.0;
    int full = (int)(done * BAR_CELLS + 1e-9);
    for (int i = 0; i < BAR_CELLS; i++)
        bar[i] = i < full ? '#' : '.';
    bar[BAR_CELLS] = '\0';
    if (done > 0.02 && t - p->began > 2) {
        char text[24];
        format_seconds((t - p->began) * (1 - done) / done, text, sizeof text);
        snprintf(left, sizeof left, "  %s left", text);
    }
    int n = snprintf(line, sizeof line, "[%s] %3.0f %%  %zu/%zu%s  %s", bar, 100 * done, p->finished,
                     p->total, left, name ? name : "");
    int width = columns(p) - 1;
    if (n > width && width > 0 && (size_t)width < sizeof line)
        line[width] = '\0';
    fprintf(p->out, "\r%s\033[K", line);
    fflush(p->out);
    p->on_screen = true;
}

void bs__progress_set(struct bs__progress *p, struct bs__progress_item *item, double share)
{
    if (!(share > item->share))
        return;
    if (share > 1)
        share = 1;
    pthread_mutex_lock(&p->mu);
    p->shares += share - item->share;
    item->share = share;
    draw(p, item->name, false);
    pthread_mutex_unlock(&p->mu);
}

void bs__progress_finish(struct bs__progress *p, struct bs__progress_item *item, const char *text)
{
    pthread_mutex_lock(&p->mu);
    p->shares += 1 - item->share;
    item->share = 1;
    p->finished++;
    if (p->style == BS__PROGRESS_LINES && text)
        fprintf(p->out, "%zu/%zu  %s: %s\n", p->finished, p->total, item->name, text);
    draw(p, item->name, p->finished == p->total);
    pthread_mutex_unlock(&p->mu);
}

void bs__progress_message(struct bs__progress *p, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    pthread_mutex_lock(&p->mu);
    clear(p);
    vfprintf(p->out, fmt, args);
    fputc('\n', p->out);
    pthread_mutex_unlock(&p->mu);
    va_end(args);
}

void bs__progress_destroy(struct bs__progress *p)
{
    if (!p)
        return;
    clear(p);
    fflush(p->out);
    pthread_mutex_destroy(&p->mu);
    free(p);
}
