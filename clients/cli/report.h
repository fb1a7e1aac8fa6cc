/* What a report of a training run is made of, and the page made from it: one file of HTML with everything inside, no script and
   nothing from elsewhere, so that it can be kept, mailed and opened years later. Names in it are other people's: all of
   them are escaped (html.h). Pure; one thread. */
#ifndef BS_CLIENTS_CLI_REPORT_H
#define BS_CLIENTS_CLI_REPORT_H

#include "kernels/base/status.h"

#include "bioseg/v1/comparisons.pb-c.h"
#include "bioseg/v1/datasets.pb-c.h"
#include "bioseg/v1/jobs.pb-c.h"
#include "bioseg/v1/models.pb-c.h"

/* Curves; NaN where a value was not told. */
struct bs__report_points {
    double *step, *loss, *rate;
    size_t count, room;
};

/* Borrows all messages; what may be missing is NULL. */
struct bs__report {
    const Bioseg__V1__Job *job; /* of kind "train" */
    struct bs__report_points steps, validations;
    const Bioseg__V1__Dataset *dataset; /* as it is now; NULL: it is gone */
    Bioseg__V1__Pair *const *pairs;
    size_t npair;
    const Bioseg__V1__Model *model; /* the version that was made */
    const Bioseg__V1__GetLineageResponse *lineage;
    const Bioseg__V1__Comparison *const *comparisons; /* of that version */
    size_t ncomparison;
};

/* False: no memory. */
bool bs__report_point(struct bs__report_points *p, double step, double loss, double rate);
void bs__report_points_free(struct bs__report_points *p);

/* The page; the caller frees *html. BS_ENOMEM. */
bs_status bs__report_write(const struct bs__report *r, char **html, size_t *size,
                           struct bs_err *err) BS_NODISCARD;

#endif
