/* Mean and sum of squared deviations of each lane. Sums are float32 around a pivot, the first value seen, so that a large
   mean does not eat the deviations; a part is short, and parts are merged in double. */

struct sums {
    vec pivot, sum, square;
    int64_t count;
};

INLINE void sums_add(struct sums *s, vec x)
{
    if (s->count++ == 0) {
        s->pivot = x;
        s->sum = s->square = splat(0);
        return;
    }
    vec d = x - s->pivot;
    s->sum += d;
    s->square = fma_v(d, d, s->square);
}

/* Adds a short run of sums to a part. */
static void sums_merge(struct bs__moments *part, const struct sums *s)
{
    for (int i = 0; i < L && s->count > 0; i++) {
        double n = (double)s->count, d = (double)s->sum[i] / n;
        double mean = (double)s->pivot[i] + d, m2 = (double)s->square[i] - (double)s->sum[i] * d;
        struct bs__moments *p = &part[i];
        double total = p->count + n, delta = mean - p->mean;
        p->m2 += (m2 > 0 ? m2 : 0) + delta * delta * (p->count * n / total);
        p->mean += delta * (n / total);
        p->count = total;
    }
}
