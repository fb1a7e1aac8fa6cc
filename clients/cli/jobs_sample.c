/* bioseg jobs sample: the picture of a training run's last validation as a PNG. Main thread. */
#include "clients/cli/jobs.h"
#include "clients/cli/message.h"
#include "model/image/image.h"

#include "bioseg/v1/training.pb-c.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define GAP 4 /* white pixels between two planes */

static void paint(uint8_t *rgb, size_t width, size_t top, size_t left, const uint8_t *plane, size_t h,
                  size_t w)
{
    for (size_t y = 0; y < h; y++)
        for (size_t x = 0; x < w; x++)
            memset(rgb + ((top + y) * width + left + x) * 3, plane[y * w + x], 3);
}

/* Above the image and its target, plane by plane; below the image again and what the network made of it. */
static bs_status draw(const Bioseg__V1__GetSampleResponse *r, const char *path, struct bs_err *err)
{
    const size_t h = r->height, w = r->width, n = h * w, columns = 1 + r->target_channels;
    const size_t height = 2 * h + GAP, width = columns * w + (columns - 1) * GAP;
    if (h == 0 || w == 0 || h > 4096 || w > 4096 || r->channels == 0 || r->channels > 64 ||
        r->target_channels > 64 ||
        r->planes.len != ((size_t)r->channels + 2 * (size_t)r->target_channels) * n)
        return BS_FAIL(err, BS_ECORRUPT, "the server sent a picture that contradicts itself");
    uint8_t *rgb = malloc(height * width * 3);
    if (!rgb)
        return BS_FAIL(err, BS_ENOMEM, "no memory for a picture");
    memset(rgb, 255, height * width * 3);
    for (size_t row = 0; row < 2; row++)
        for (size_t c = 0; c < columns; c++) {
            const size_t plane = c == 0 ? 0 : r->channels + row * r->target_channels + c - 1;
            paint(rgb, width, row * (h + GAP), c * (w + GAP), r->planes.data + plane * n, h, w);
        }
    bs_status rc = bs_rgb_write_png(path, rgb, height, width, err);
    free(rgb);
    return rc;
}

int bs__jobs_sample(struct bs__cli *cli, struct bs__rpc_client *client, char **args, int nargs, void *ctx)
{
    (void)nargs;
    const struct bs__jobs_options *o = ctx;
    ProtobufCMessage *message = NULL;
    Bioseg__V1__GetSampleRequest request = BIOSEG__V1__GET_SAMPLE_REQUEST__INIT;
    struct bs_err err = {.msg = ""};
    int code;
    if (!o->folder) {
        (void)!BS_FAIL(&err, BS_EINVAL, "--output is needed: where the picture goes");
        return bs__complain(cli, &err, BS__EXIT_USAGE);
    }
    if (!o->overwrite && access(o->folder, F_OK) == 0) {
        (void)!BS_FAIL(&err, BS_EEXIST, "%s is there already; --overwrite replaces it", o->folder);
        return bs__complain(cli, &err, BS__EXIT_USAGE);
    }
    request.job_id = args[0];
    if (bs__ask(cli, client, BS__METHOD("Training", "GetSample"), cli->timeout, &request.base,
                &bioseg__v1__get_sample_response__descriptor, &message, &code) != BS_OK)
        return code;
    const Bioseg__V1__GetSampleResponse *r = (const Bioseg__V1__GetSampleResponse *)message;
    const bs_status rc = draw(r, o->folder, &err);
    if (rc != BS_OK)
        code = bs__complain(cli, &err, bs__exit_of_local(rc));
    else if (cli->json)
        fprintf(cli->out, "{\"step\": %llu, \"reduction\": %u}\n", (unsigned long long)r->step, r->reduction);
    else
        fprintf(cli->out, "%s: after step %llu: image and target above, image and prediction below\n",
                o->folder, (unsigned long long)r->step);
    protobuf_c_message_free_unpacked(message, NULL);
    return code;
}
