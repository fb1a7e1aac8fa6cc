/* What the HTTP port answers. The port's thread only. */
#ifndef BS_SERVER_HTTP_ROUTES_H
#define BS_SERVER_HTTP_ROUTES_H

#include "server/http/address.h"
#include "server/http/http.h"

#include <microhttpd.h>

/* What a route may look at. */
struct bs__http_site {
    struct bs__http_address address;
    int port;
    struct bs_http_source source;
};

/* Queues the answer to a request whose headers have come; what MHD's handler returns. */
enum MHD_Result bs__http_answer(const struct bs__http_site *site, struct MHD_Connection *c, const char *url,
                                const char *method);

#endif
