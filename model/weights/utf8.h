/* Is this text UTF-8? For names and descriptions that come from files. Pure function; any thread. */
#ifndef BS_MODEL_WEIGHTS_UTF8_H
#define BS_MODEL_WEIGHTS_UTF8_H

#include <stddef.h>

/* Bytes of the well-formed UTF-8 sequence at text (1 to 4), or 0: overlong forms, surrogates and values above U+10FFFF
   are not well-formed. */
size_t bs__utf8_sequence(const unsigned char *text, size_t len);

#endif
