/* Writing HTML: what the program says goes in as it is, what anybody else said is escaped, and there is no third way. Appends to a
   growing text; after a failed allocation everything else is ignored and there is no text at the end. One thread. */
#ifndef BS_CLIENTS_CLI_HTML_H
#define BS_CLIENTS_CLI_HTML_H

#include "kernels/base/status.h"

#include <stddef.h>

struct bs__html {
    char *text;
    size_t len, cap;
    bool failed;
};

/* Markup: literals of this program only. */
void bs__html_raw(struct bs__html *w, const char *markup);
/* Anything else, for between tags and within quoted attributes: & < > " ' are escaped, control characters but for new lines become
   U+FFFD, and so does what is no UTF-8. NULL is nothing. */
void bs__html_text(struct bs__html *w, const char *text);
/* The same, by format. */
void bs__html_format(struct bs__html *w, const char *format, ...) BS_PRINTF(2, 3);
/* The text, which the caller frees, and *size without its NUL; NULL when any call ran out of memory. */
char *bs__html_end(struct bs__html *w, size_t *size);

#endif
