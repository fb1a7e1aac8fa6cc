/* Mean and sum of squared deviations of each lane. Sums are float32 around a pivot, so that a large mean does not eat the
   deviations; parts are merged in double. The pivot is the first value of a short run: where a channel lives at an image's
   edge alone, a pivot taken there for a whole row would be the one value that is far from all others, and their squares
   would eat the deviations (a relative error of 1e-4 in a variance, seen at rows of 1024). */

#define SUMS_RUN 32 /* values around one pivot */

struct sums {
    vec pivot, sum, square; /* of the run */
    vec mean, m2;           /* of `before` values of runs that ended */
    int64_t count, before;
};

/* Ends a run. */
INLINE void sums_close(struct sums *s)
{
    const float n = (float)s->count, before = (float)s->before;
    if (s->count == 0)
        return;
    const vec d = s->sum / splat(n), mean = s->pivot + d;
    vec m2 = s->square - s->sum * d;
    m2 = (vec)((ivec)m2 & (m2 > 0));
    if (s->before == 0) {
        s->mean = mean;
        s->m2 = m2;
    } else {
        const vec delta = mean - s->mean, part = delta * splat(n / (before + n));
        s->m2 += m2 + delta * part * splat(before);
        s->mean += part;
    }
    s->before += s->count;
    s->count = 0;
}

INLINE void sums_add(struct sums *s, vec x)
{
    if (s->count == SUMS_RUN)
        sums_close(s);
    if (s->count++ == 0) {
        s->pivot = x;
        s->sum = s->square = splat(0);
        return;
    }
    vec d = x - s->pivot;
    s->sum += d;
    s->square = fma_v(d, d, s->square);
}

/* Adds what was summed to a part. */
static void sums_merge(struct bs__moments *part, struct sums *s)
{
    sums_close(s);
    for (int i = 0; i < L && s->before > 0; i++) {
        double n = (double)s->before, mean = (double)s->mean[i], m2 = (double)s->m2[i];
        struct bs__moments *p = &part[i];
        double total = p->count + n, delta = mean - p->mean;
        p->m2 += m2 + delta * delta * (p->count * n / total);
        p->mean += delta * (n / total);
        p->count = total;
    }
}
