/* Ctrl-C: one thread waits for SIGINT and SIGTERM, raises a flag and cancels the calls under way, so that a command can
   leave finished outputs as they are and say how to go on. A second signal ends the process at once. */
#ifndef BS_CLIENTS_CLI_INTERRUPT_H
#define BS_CLIENTS_CLI_INTERRUPT_H

#include "kernels/base/status.h"

struct bs__interrupt;

/* Must be called before any other thread exists: the signals are blocked for all of them. */
bs_status bs__interrupt_create(struct bs__interrupt **out, struct bs_err *err) BS_NODISCARD;
void bs__interrupt_destroy(struct bs__interrupt *in); /* accepts NULL */
/* Any thread. NULL is never interrupted. */
bool bs__interrupted(const struct bs__interrupt *in);
/* fn runs on the signal thread, once per signal, and at once if a signal came before; NULL takes it away, and returns
   only when no call of it runs. */
void bs__interrupt_notify(struct bs__interrupt *in, void (*fn)(void *ctx), void *ctx);

#endif
